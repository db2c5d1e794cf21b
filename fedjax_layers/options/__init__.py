"""Declaration of options as function parameters, conversion of their values, and errors for unknown names."""

from fedjax_layers.options.declared import Mark, Option, declared, defaults_of, options_of, taken_from_config
from fedjax_layers.options.names import check_options, flag_of, renamed, unknown_name
from fedjax_layers.options.values import conform, value_of

__all__ = [
    "Mark",
    "Option",
    "check_options",
    "conform",
    "declared",
    "defaults_of",
    "flag_of",
    "options_of",
    "renamed",
    "taken_from_config",
    "unknown_name",
    "value_of",
]
