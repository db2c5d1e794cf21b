"""Error messages in the words of the command line: flags in place of the names of fields and options."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence

from fedjax_layers.cli.flags import flag_fields
from fedjax_layers.experiment.config.owners import all_owners
from fedjax_layers.options import flag_of

_HEAD = re.compile(r"(?:option )?([a-z]\w*(?:[. ]\w+)?): ")
_OTHER_NAMES = {
    "data set": "--dataset",
    "feature shift": "--feature-shift",
    "num_clients": "--clients",
    "backdoor": "--attack backdoor",
    "client_of": "the partition",
    "privacy": "--dp-noise",
    "task": "--model",
}
"""What is checked under another name, of the Python function that gets the value."""


def with_flags(message: str, arguments: Sequence[str]) -> str:
    """Replace the names of fields and options in an error message by flags.

    Args:
      message: one line, which begins with the name of the argument that is wrong, as errors of Python functions do.
      arguments: the words of the command line. Of several flags that a name may stand for, a typed one is meant:
        ``target`` stands for ``--attack-target`` where that was typed, and ``--target`` was not.
    """
    typed = [word.partition("=")[0] for word in arguments if word.startswith("--")]
    found = _HEAD.match(message)
    if found is None:
        return message
    name, rest = found[1], message[found.end() :]
    flag = _flag(name, typed)
    head = message[: found.end() - 2] if flag is None else flag
    return f"{head}: {_names_between().sub(lambda one: flag_of(one[0]), rest)}"


def _flag(name: str, typed: Sequence[str]) -> str | None:
    """Return the flag for which a name at the head of a message stands; ``None`` for one that is not a flag."""
    own, other = flag_of(name), _OTHER_NAMES.get(name)
    if own in typed:
        return own
    if other is not None and (other.split()[0] in typed or not other.startswith("--")):
        return other
    longer = [flag for flag in typed if flag.endswith((f"-{own[2:]}", f".{own[2:]}"))]
    if len(set(longer)) == 1:
        return longer[0]
    return own if name in _known() else None


@functools.cache
def _known() -> frozenset[str]:
    """Return the names of all fields and options that are flags."""
    options = {name for one in all_owners() for name in one.options}
    return frozenset({field.name for field in flag_fields()} | options | {"data_dir"})


@functools.cache
def _names_between() -> re.Pattern[str]:
    """Match the names of the config's fields of two words or more, outside of quotes and paths."""
    fields = sorted((field.name for field in flag_fields() if "_" in field.name), key=len, reverse=True)
    return re.compile(rf"(?<![\w./'\"-])(?:{'|'.join(fields)})(?![\w./'\"=-])")
