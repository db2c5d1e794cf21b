"""The commands by name, each with one line, and the parser of ``--help`` and ``--version``, which imports no JAX."""

from __future__ import annotations

import contextlib
from typing import Any

import fedjax_layers
from fedjax_layers.cli.usage import Parser

COMMANDS = {
    "run": "run one algorithm",
    "compare": "run several algorithms on the same clients",
    "pretrain": "train one model centrally, on a reserve that no client of a later run owns",
    "sweep": "run one algorithm with many settings and seeds",
    "merge": "join the parts of a sweep",
    "report": "write the report of runs, comparisons and sweeps as one HTML page",
    "inspect": "show the clients of a finished run with their scores, or metrics of its layers",
    "verify": "compute the first rounds of a run again, and compare them with its records",
    "doctor": "check devices, versions and data, or forecast the memory of a run",
    "data": "list, prepare or show data sets",
    "completion": "print the script by which a shell completes commands, flags and names",
}
ASKED = ("-h", "--help")


def overview() -> tuple[Parser, Any]:
    """Make the parser of the words before a command, and the action to which the commands' own parsers are added."""
    parser = Parser(
        prog="fedjax-layers", description=(fedjax_layers.__doc__ or "").partition("\n")[0], allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"fedjax-layers {fedjax_layers.__version__}")
    return parser, parser.add_subparsers(dest="command", required=True, parser_class=Parser, metavar="COMMAND")


def is_overview(arguments: list[str]) -> bool:
    """Return whether a command line asks for nothing but help on all commands, or for the version."""
    return arguments in ([], *([word] for word in (*ASKED, "--version")))


def print_overview(arguments: list[str]) -> None:
    """Print that help or version."""
    parser, adding = overview()
    for name in COMMANDS:
        add_command(adding, name)
    with contextlib.suppress(SystemExit):  # with which argparse ends, after it has printed
        parser.parse_args(arguments or ["--help"])


def add_command(adding: Any, name: str, usage: str = "") -> Parser:
    """Add the parser of one command; ``usage`` tells its arguments before the flags."""
    text = f"fedjax-layers {name} {usage} [flags]" if usage else None
    about = COMMANDS[name]
    parser: Parser = adding.add_parser(
        name, help=about, usage=text, description=f"{about.capitalize()}.", allow_abbrev=False
    )
    return parser
