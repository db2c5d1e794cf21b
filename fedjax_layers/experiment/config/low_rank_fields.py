"""The fields of a config about low-rank adapters."""

from __future__ import annotations

import dataclasses
from typing import Annotated

from annotated_types import Ge, Gt, Le

from fedjax_layers.experiment.config.fields import Needs, option

_LOW_RANK = Needs("--low-rank", lambda c: c.low_rank is not None)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LowRankFields:
    """Adapters beside a frozen model, see :func:`fedjax_layers.low_rank`; without a rank the model itself is trained.

    With adapters ``init_from`` is the frozen base, and ``start_seed`` or the run's seed draws the adapters.
    """

    low_rank: Annotated[int | None, Ge(1)] = option(
        None, "model", "rank of the adapters (LoRA) that are trained beside frozen dense and attention kernels",
        unset="the model itself is trained",
    )  # fmt: skip
    low_rank_alpha: Annotated[float, Gt(0)] = option(
        16.0, "model", "alpha of the adapters' scale alpha / rank", needs=_LOW_RANK
    )
    low_rank_targets: tuple[str, ...] = option(
        (), "model", "kernels that get adapters, by path or regular expression", unset="all", needs=_LOW_RANK,
        metavar="PATTERN,...",
    )  # fmt: skip
    low_rank_train: tuple[str, ...] = option(
        (), "model", "layers that are trained whole, by name or regular expression", unset="none", needs=_LOW_RANK,
        metavar="PATTERN,...",
    )  # fmt: skip
    low_rank_seed: Annotated[int, Ge(0), Le(2**32 - 1)] = option(
        0, "model", "seed of the frozen base where --init-from names none", needs=_LOW_RANK
    )

    @property
    def adapter_settings(self) -> tuple[int, float, tuple[str, ...], tuple[str, ...], int] | None:
        """Rank, alpha, targets, layers trained whole, and the base's seed; ``None`` without adapters."""
        if self.low_rank is None:
            return None
        return self.low_rank, self.low_rank_alpha, self.low_rank_targets, self.low_rank_train, self.low_rank_seed
