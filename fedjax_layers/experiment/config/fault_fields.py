"""The fields of a config about clients that fail."""

from __future__ import annotations

import dataclasses
from typing import Annotated

from annotated_types import Ge, Le

from fedjax_layers.experiment.config.fields import Needs, option
from fedjax_layers.options import Mark

_STRAGGLE = Needs("--straggle", lambda c: c.straggle > 0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FaultFields:
    """How often clients of a round fail, see :class:`fedjax_layers.clients.Faults`, and what is done then."""

    drop_before: Annotated[float, Ge(0), Le(1), Mark.TRACED] = option(
        0.0, "faults", "probability that a client of a round drops out before it trains"
    )
    drop_during: Annotated[float, Ge(0), Le(1), Mark.TRACED] = option(
        0.0, "faults", "probability that a client of a round trains, and then drops out, so that its work is lost"
    )
    straggle: Annotated[float, Ge(0), Le(1), Mark.TRACED] = option(
        0.0, "faults", "probability that a client of a round does only a share of its local steps"
    )
    straggle_work: Annotated[float, Ge(0), Le(1), Mark.TRACED] = option(
        0.5, "faults", "this share, rounded up to whole steps", needs=_STRAGGLE
    )
    broken: Annotated[float, Ge(0), Le(1), Mark.TRACED] = option(
        0.0, "faults", "probability that a client of a round returns NaN"
    )
    nonfinite: str = option(
        "exclude", "faults", "what is done with a client whose results are not finite: exclude leaves it out of the "
        "round, stop also ends the run, keep uses them", choices=("exclude", "stop", "keep"),
    )  # fmt: skip

    @property
    def fault_kinds(self) -> tuple[str, ...]:
        """The kinds of faults that clients may have in this run, by the names of their fields."""
        return tuple(k for k in ("drop_before", "drop_during", "straggle", "broken") if getattr(self, k) > 0)
