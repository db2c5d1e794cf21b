"""The fields of a config about differential privacy."""

from __future__ import annotations

import dataclasses
from typing import Annotated

from annotated_types import Ge, Gt, Le, Lt

from fedjax_layers.experiment.config.fields import Needs, option
from fedjax_layers.options import Mark

_PRIVATE = Needs("--dp-noise", lambda c: c.dp_noise is not None)
_ADAPTED = Needs("--dp-quantile", lambda c: c.dp_quantile is not None)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PrivacyFields:
    """Client-level differential privacy, see :class:`fedjax_layers.clients.Privacy`; without noise there is none."""

    dp_noise: Annotated[float | None, Ge(0)] = option(
        None, "privacy", "standard deviation of the noise on the sum of clients' updates, over --dp-clip", unset="none"
    )
    dp_clip: Annotated[float, Gt(0), Mark.TRACED] = option(
        1.0, "privacy", "largest norm of a client's update; longer ones are shortened", needs=_PRIVATE
    )
    dp_per_layer: bool = option(False, "privacy", "clip each layer by its own norm", needs=_PRIVATE)
    dp_quantile: Annotated[float | None, Ge(0), Le(1)] = option(
        None, "privacy", "adapt --dp-clip so that this share of the updates is shorter", unset="a fixed bound",
        needs=_PRIVATE,
    )  # fmt: skip
    dp_clip_rate: Annotated[float, Ge(0), Mark.TRACED] = option(
        0.2, "privacy", "step size of the logarithm of --dp-clip", needs=_ADAPTED
    )
    dp_delta: Annotated[float | None, Gt(0), Lt(1)] = option(
        None, "privacy", "the delta for which epsilon is computed", unset="1 / (number of clients to the power of 1.1)",
        needs=_PRIVATE,
    )  # fmt: skip

    @property
    def privacy_kind(self) -> tuple[float, bool, float | None] | None:
        """The noise, whether layers are clipped each by itself, and the quantile; ``None`` without privacy."""
        return None if self.dp_noise is None else (self.dp_noise, self.dp_per_layer, self.dp_quantile)
