"""What a command prints where: everything, for people; or, for scripts, its folder alone or one JSON object."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console

_WIDTH_OF_FILES = 110  # columns of a file or a pipe: enough for whole tables


class Output(NamedTuple):
    """What a command prints.

    Attributes:
      quiet: whether it prints nothing but errors, and at its end the folder.
      json: whether it prints one JSON object on stdout at its end, and everything else on stderr.
    """

    quiet: bool = False
    json: bool = False

    @classmethod
    def asked(cls, arguments: Collection[str]) -> Output:
        """Read the words of a command line, before any of them is parsed."""
        return cls("--quiet" in arguments, "--json" in arguments)

    def console(self) -> Console:
        """Make a console as wide as the terminal; it prints names as they are, and no colours under ``NO_COLOR``."""
        plain: Any = {"highlight": False, "markup": False, "emoji": False, "quiet": self.quiet, "stderr": self.json}
        console = Console(**plain)
        return console if console.is_terminal else Console(**plain, width=_WIDTH_OF_FILES)

    def print_result(self, content: Mapping[str, Any], folder: Path | None = None) -> None:
        """Print what a script reads on stdout, if one was asked for.

        Args:
          content: the JSON object, of anything that :func:`to_json` takes.
          folder: the command's folder, which is also put first into the object.
        """
        if self.json:
            from fedjax_layers.experiment.records.run_directory import to_json  # noqa: PLC0415  (imports JAX)

            told = content if folder is None else {"folder": str(folder), **content}
            print(json.dumps(to_json(told), allow_nan=False, ensure_ascii=False))  # noqa: T201
        elif self.quiet and folder is not None:
            print(folder)  # noqa: T201


EVERYTHING = Output()


def add_output_flags(parser: Any, *, quiet: str = "print nothing but errors, and at the end the folder") -> None:
    """Add ``--json`` and, unless its help is empty, ``--quiet`` to a parser or one of its groups."""
    if quiet:
        parser.add_argument("--quiet", action="store_true", help=quiet)
    text = "print one JSON object on stdout, and everything else on stderr"
    parser.add_argument("--json", action="store_true", help=text)
