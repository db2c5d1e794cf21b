"""Pages of the repository outside docs/ become pages of the site, from where they are.

Their links and pictures, and the links to them, are paths between the files, and so hold on a code host and here.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.project import Project


class RepositoryProject(Project):
    """The pages below docs/, and further ones of the repository.

    Attributes:
      outside: absolute path of each further page by its name in the site.
    """

    outside: dict[str, Path]

    def discover(self, exclude_paths: Iterable[str] = (), include_paths: Iterable[str] = ("**",)) -> set[str]:
        """Find all pages."""
        super().discover(exclude_paths, include_paths)
        for docname, path in self.outside.items():
            self.docnames.add(docname)
            self._path_to_docname[path] = docname
            self._docname_to_path[docname] = path
        return self.docnames


def _take_over(app: Sphinx) -> None:
    root = Path(app.srcdir).parent
    app.project.__class__ = RepositoryProject
    app.project.outside = {name: (root / path).resolve() for name, path in app.config.outside_pages.items()}


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the setting ``outside_pages``: paths from the repository's root, by name in the site."""
    app.add_config_value("outside_pages", {}, "env", [dict])
    app.connect("builder-inited", _take_over)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
