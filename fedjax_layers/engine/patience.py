"""Early stopping: when a run's validation loss has stopped falling, seen over the same clients every time."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt


class Patience:
    """Looks at one evaluation after another and counts those in a row that brought nothing better.

    Each client counts with its latest known loss, and an evaluation is compared with the best one so far: the mean
    weighted by size, over the clients that have a finite loss in both. So nobody's coming or going moves the mean:

    - A client that is looked at for the first time joins the best evaluation with that loss. An evaluation with a
      first look is never a fruitless one; there are at most C of them.
    - A client whose loss has become infinite is left out, and the others decide. What it had in the best evaluation
      waits for its return. Where nobody has a finite loss any more, the evaluation is fruitless.
    - An evaluation in which nobody was looked at tells nothing, and does not count.

    Args:
      sizes: ``[C]`` weights, at least 0; whoever has 0 decides nothing.
      patience: fruitless evaluations in a row after which a run stops, at least 1.

    Attributes:
      looked: evaluations so far.

    Raises:
      ValueError: ``patience`` is below 1.

    Source: PLayer-FL (arXiv 2502.08829), appendix: patience 10; ISIC, MIMIC 3. There all clients take part.
    """

    def __init__(self, sizes: npt.ArrayLike, patience: int) -> None:
        if patience < 1:
            raise ValueError(f"patience: expected at least 1, got {patience}")
        self._sizes, self._patience = np.asarray(sizes, np.float64), patience
        self._latest, self._best = (np.full(self._sizes.shape, np.nan) for _ in range(2))
        self._fruitless = self.looked = 0

    def follow(self, losses: Iterable[npt.ArrayLike]) -> bool:
        """Look at further evaluations, ``[C]`` each: whether the run is out of patience after the last of them."""
        for row in losses:
            self.look(row)
        return self._over

    @property
    def _over(self) -> bool:
        return self._fruitless >= self._patience

    def look(self, losses: npt.ArrayLike) -> bool:
        """Whether the run is out of patience after this evaluation, ``[C]``; NaN is a client that was not evaluated."""
        self.looked += 1
        row = np.where(self._sizes > 0, np.asarray(losses, np.float64), np.nan)
        seen = ~np.isnan(row)
        if not seen.any():
            return self._over
        self._latest[seen] = row[seen]
        finite = np.isfinite(self._latest)
        both = finite & np.isfinite(self._best)
        first = finite & ~np.isfinite(self._best)
        weight = self._sizes[both]
        if weight @ self._latest[both] < weight @ self._best[both]:
            self._best[finite] = self._latest[finite]
            self._fruitless = 0
        else:
            self._best[first] = self._latest[first]
            self._fruitless += not first.any()
        return self._over


def patience_stop(losses: npt.ArrayLike, sizes: npt.ArrayLike, patience: int) -> int | None:
    """Tell where early stopping would have ended a run.

    Args:
      losses: ``[E, C]`` validation losses; NaN where a client was not evaluated or has no validation examples.
      sizes: ``[C]`` weights, the clients' training examples; 0 for a client that decides nothing.
      patience: evaluations in a row without a better one after which a run stops, as :class:`Patience` counts them.

    Returns:
      Number of evaluations to keep, the last fruitless one among them; ``None`` if the run would not stop.

    Raises:
      ValueError: ``patience`` is below 1, or the shapes do not belong together.
    """
    table, weights = np.asarray(losses, np.float64), np.asarray(sizes, np.float64)
    if table.ndim != 2 or weights.shape != table.shape[1:]:
        raise ValueError(f"losses, sizes: expected shapes [E, C] and [C], got {table.shape} and {weights.shape}")
    watch = Patience(weights, patience)
    return next((number for number, row in enumerate(table, start=1) if watch.look(row)), None)
