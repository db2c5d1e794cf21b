"""Settings of the documentation site; CONTRIBUTING.md says how it is built."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE / "_extensions")]

from fedjax_layers import __version__  # noqa: E402  (found by the line above)

project = "fedjax_layers"
author = "The fedjax_layers authors"
project_copyright = "The fedjax_layers authors, Apache-2.0"
version = release = __version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_design",
    "outside_pages",
    "source_files",
    "inline_pictures",
    "public_names",
]
exclude_patterns = ["_extensions"]
# Pages that do not lie below docs/, by their name in the site.
outside_pages = {
    "contributing": "CONTRIBUTING.md",
    "changelog": "CHANGELOG.md",
    "readme": "README.md",
    "benchmarks": "benchmarks/README.md",
    "releases": "requirements/README.md",
} | {f"experiments/{path.stem}": f"experiments/{path.name}" for path in (HERE.parent / "experiments").glob("*.md")}

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 4

nb_execution_mode = "cache"
nb_execution_timeout = 600  # seconds for a cell, on a busy machine, too
nb_execution_raise_on_error = True
nb_merge_streams = True

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
# Shown by name, as the source has them, and not by what they stand for.
autodoc_type_aliases = {name: name for name in ("Build", "Select", "Data", "Decide", "Array", "Params", "Key")}
autodoc_type_aliases |= {"npt.ArrayLike": "ArrayLike"}
python_maximum_signature_line_length = 100
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_custom_sections = [("Source", "returns_style")]

html_theme = "sphinx_book_theme"
html_title = "fedjax_layers"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_theme_options = {
    "show_navbar_depth": 1,
    "show_toc_level": 2,
    "home_page_in_toc": False,
    "navbar_persistent": [],  # the search is in the sidebar
    "use_download_button": False,
    "use_fullscreen_button": False,
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
