"""Early stopping of runs whose validation loss no longer falls, compared over the same clients each time."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt


class Patience:
    """Compares one evaluation after another with the best one, and counts those in a row without an improvement.

    Each client counts with its latest known loss, and an evaluation is compared with the best one so far by the mean,
    weighted by size, over the clients that have a finite loss in both. Clients that come or go therefore do not move
    the mean:

    - A client that is evaluated for the first time enters the best evaluation with that loss. An evaluation with such a
      client always counts as an improvement; there are at most C of these.
    - A client whose loss has become infinite is left out, and the others decide; its loss in the best evaluation is
    kept
      until its loss is finite again. If no client has a finite loss, the evaluation is no improvement.
    - An evaluation without any client's loss does not count.

    Args:
      sizes: ``[C]`` weights, at least 0; clients of weight 0 do not count.
      patience: number of evaluations in a row without an improvement after which a run stops, at least 1.

    Attributes:
      looked: number of evaluations so far.

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
        """Compare further evaluations, ``[C]`` each; return whether the run should stop after the last of them."""
        for row in losses:
            self.look(row)
        return self._over

    @property
    def _over(self) -> bool:
        return self._fruitless >= self._patience

    def look(self, losses: npt.ArrayLike) -> bool:
        """Compare one evaluation ``[C]`` (NaN: not evaluated) with the best; return whether the run should stop."""
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
    """Find where early stopping would have ended a run.

    Args:
      losses: ``[E, C]`` validation losses; NaN where a client was not evaluated or has no validation examples.
      sizes: ``[C]`` weights, the clients' numbers of training examples; clients of weight 0 do not count.
      patience: number of evaluations in a row without an improvement after which a run stops, see :class:`Patience`.

    Returns:
      The number of evaluations to keep, including the last one without improvement; ``None`` if the run would not stop.

    Raises:
      ValueError: ``patience`` is below 1, or the shapes do not fit each other.
    """
    table, weights = np.asarray(losses, np.float64), np.asarray(sizes, np.float64)
    if table.ndim != 2 or weights.shape != table.shape[1:]:
        raise ValueError(f"losses, sizes: expected shapes [E, C] and [C], got {table.shape} and {weights.shape}")
    watch = Patience(weights, patience)
    return next((number for number, row in enumerate(table, start=1) if watch.look(row)), None)
