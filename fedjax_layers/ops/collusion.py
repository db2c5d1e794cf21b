"""Attacks of bad clients that know the cohort's benign updates and all send one update made from them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from fedjax_layers.ops.checks import at_least_float32, client_count, expect_shape
from fedjax_layers.ops.cluster import pairwise_distances
from fedjax_layers.types import Array, Params

Collusion = Literal["alie", "ipm", "min_max", "min_sum"]
COLLUSIONS = ("alie", "ipm", "min_max", "min_sum")
SEARCHING = ("min_max", "min_sum")  # find their own strength, in a direction
Direction = Literal["unit", "sign", "std"]
DIRECTIONS = ("unit", "sign", "std")


def colluding_updates(
    updates: Params,
    bad: Array,
    weight: Array,
    kind: Collusion,
    strength: float | Array | None = None,
    direction: Direction = "unit",
) -> Params:
    """Replace the bad clients' updates by one that is made from all benign updates of the cohort.

    Let mu and sd be the benign updates' mean and standard deviation in every coordinate, weighted as the server weights
    them, n the number of clients in the cohort and f the number of bad ones.

    - ``"alie"`` (a little is enough) sends ``mu - z sd`` with z the strength; without one,
      ``z = Phi^-1((n - f - s) / (n - f))`` with ``s = floor(n/2 + 1) - f``, at least 1: the largest shift that still
      looks nearer to mu than s benign updates, which with the bad ones are the majority. Phi^-1 is the quantile
      function of the normal distribution, as in the paper; the table of 50 clients in the min-max authors' code holds
      values of Phi itself, and that code adds ``z sd``.
    - ``"ipm"`` (inner-product manipulation) sends ``-strength mu``. The mean of all updates changes its sign where the
      strength is above the benign clients' weight over the bad ones'.
    - ``"min_max"`` sends ``m = mu + gamma d`` with the largest gamma for which no benign update is further from m than
      two benign updates can be from each other.
    - ``"min_sum"`` does so for the sum of squared distances: to m no larger than to the benign update with the largest.

    The direction d is ``-mu`` (``"unit"``; its length has no influence), ``-sign(mu)`` or ``-sd``. The bounds are
    quadratic in gamma and are solved, where the paper's code halves steps from 10 until they are below 1e-5, so that it
    stays below 20.

    Args:
      updates: the updates of K slots, any pytree with leaves ``[K, ...]``. Leaves of whole numbers are left alone.
      bad: ``[K]`` bool, the slots of bad clients.
      weight: ``[K]``, not negative. A slot of weight 0 is absent and has no influence, NaN included.
      kind: the attack, see above.
      strength: of ALIE and IPM, see above; may be traced.
      direction: of min-max and min-sum, see above.

    Returns:
      A tree like ``updates``; without a benign update it is ``updates`` itself.

    Raises:
      ValueError: shapes that do not fit, an unknown kind or direction, or a strength that is missing or unused.

    Source: Baruch et al. 2019 (arXiv 1902.06156), Xie et al. 2019 (arXiv 1903.03936), Shejwalkar and Houmansadr 2021
    (NDSS).
    """
    _check_choice(kind, strength, direction)
    num = client_count(updates, "updates")
    for name, x in (("bad", bad), ("weight", weight)):
        expect_shape(x, (num,), name)
    present = jnp.asarray(weight) > 0
    bad = jnp.asarray(bad, bool) & present
    benign = present & ~bad
    leaves, treedef = jax.tree.flatten(updates)
    places = [i for i, x in enumerate(leaves) if jnp.issubdtype(x.dtype, jnp.inexact)]
    if not places:
        return updates
    known = _known([leaves[i] for i in places], benign, jnp.where(benign, weight, 0))
    sent = _SENT[kind](known, bad, strength, direction)
    hit = bad & benign.any()
    for i, flat in zip(places, sent, strict=True):
        x = leaves[i]
        new = jnp.broadcast_to(flat.reshape(x.shape[1:]).astype(x.dtype)[None], x.shape)
        leaves[i] = jnp.where(hit.reshape(num, *[1] * (x.ndim - 1)), new, x)
    return jax.tree.unflatten(treedef, leaves)


class _Known(NamedTuple):
    """What the attackers know: benign rows ``[K, P]`` less their mean, mean and deviation ``[P]``, of every leaf."""

    rows: list[Array]
    mean: list[Array]
    spread: list[Array]
    benign: Array


def _check_choice(kind: str, strength: float | Array | None, direction: str) -> None:
    if kind not in COLLUSIONS:
        raise ValueError(f"kind: expected one of {', '.join(COLLUSIONS)}, got {kind!r}")
    if direction not in DIRECTIONS:
        raise ValueError(f"direction: expected one of {', '.join(DIRECTIONS)}, got {direction!r}")
    if kind == "ipm" and strength is None:
        raise ValueError("strength: expected a number for ipm, got none")
    if kind in SEARCHING and strength is not None:
        raise ValueError(f"strength: expected none for {kind}, which finds its own, got {strength}")


def _known(leaves: list[Array], benign: Array, weight: Array) -> _Known:
    rows, mean, spread = [], [], []
    for x in leaves:
        dtype = at_least_float32(x.dtype)
        total = weight.astype(dtype).sum()
        share = weight.astype(dtype) / jnp.where(total > 0, total, jnp.ones((), dtype))
        flat = jnp.where(benign[:, None], x.reshape(x.shape[0], -1).astype(dtype), jnp.zeros((), dtype))
        mean.append(jnp.dot(share, flat, precision="highest"))
        rows.append(jnp.where(benign[:, None], flat - mean[-1][None], jnp.zeros((), dtype)))
        spread.append(jnp.sqrt(jnp.dot(share, rows[-1] ** 2, precision="highest")))
    return _Known(rows, mean, spread, benign)


def _alie(known: _Known, bad: Array, strength: float | Array | None, direction: str) -> list[Array]:
    del direction
    if strength is None:
        good, f = known.benign.sum(dtype=jnp.int32), bad.sum(dtype=jnp.int32)
        supporters = jnp.maximum((good + f) // 2 + 1 - f, 1)
        share = (good - supporters).astype(float) / jnp.maximum(good, 1).astype(float)
        # One benign client has no deviation, and no share either.
        strength = jnp.where(share > 0, jax.scipy.special.ndtri(share), jnp.zeros((), share.dtype))
    return [m - jnp.asarray(strength, m.dtype) * s for m, s in zip(known.mean, known.spread, strict=True)]


def _ipm(known: _Known, bad: Array, strength: float | Array | None, direction: str) -> list[Array]:
    del bad, direction
    return [-jnp.asarray(strength, m.dtype) * m for m in known.mean]


def _min_max(known: _Known, bad: Array, strength: float | Array | None, direction: str) -> list[Array]:
    """Bound the distance to each benign update: the smallest of the gammas that they allow."""
    del bad, strength
    way = _way(known, direction)
    bound = _squares(known).max()
    square, along, own = _quadratic(known, way)
    gamma = jnp.where(known.benign, _largest(square, along, own - bound), jnp.inf).min()
    return _moved(known, way, gamma)


def _min_sum(known: _Known, bad: Array, strength: float | Array | None, direction: str) -> list[Array]:
    """Bound the sum of squared distances, which is one quadratic."""
    del bad, strength
    way = _way(known, direction)
    bound = _squares(known).sum(1).max()
    square, along, own = _quadratic(known, way)
    number = known.benign.sum().astype(square.dtype)
    return _moved(known, way, _largest(number * square, along.sum(), own.sum() - bound))


def _way(known: _Known, direction: str) -> list[Array]:
    if direction == "std":
        return [-s for s in known.spread]
    return [-m if direction == "unit" else -jnp.sign(m) for m in known.mean]


def _squares(known: _Known) -> Array:
    """Compute squared distances ``[K, K]`` between benign updates; 0 from and to other slots."""
    distance = pairwise_distances(known.rows, known.benign)
    return jnp.where(known.benign[:, None] & known.benign[None], distance, jnp.zeros((), distance.dtype)) ** 2


def _quadratic(known: _Known, way: list[Array]) -> tuple[Array, Array, Array]:
    """Compute ``|d|^2``, ``d . r_k`` and ``|r_k|^2``, of which ``|gamma d - r_k|^2`` is made; r_k are the rows."""
    dtype = jnp.result_type(*known.rows)
    square, along, own = jnp.zeros((), dtype), *jnp.zeros((2, len(known.benign)), dtype)
    for d, r in zip(way, known.rows, strict=True):
        square += (d**2).sum().astype(dtype)
        along += jnp.dot(r, d, precision="highest").astype(dtype)
        own += (r**2).sum(1).astype(dtype)
    return square, along, own


def _largest(a: Array, b: Array, c: Array) -> Array:
    """Solve ``a g^2 - 2 b g + c <= 0`` for the largest g, where ``c <= 0`` up to rounding; 0 without a direction."""
    zero = jnp.zeros((), b.dtype)
    c = jnp.minimum(c, zero)
    root = jnp.sqrt(b**2 - a * c)
    top, bottom = jnp.where(b > 0, b + root, -c), jnp.where(b > 0, a, root - b)  # neither cancels
    return jnp.where((a > 0) & (bottom > 0), top / jnp.where(bottom > 0, bottom, jnp.ones((), b.dtype)), zero)


def _moved(known: _Known, way: list[Array], gamma: Array) -> list[Array]:
    return [m + gamma.astype(m.dtype) * d for m, d in zip(known.mean, way, strict=True)]


_SENT: dict[str, Callable[[_Known, Array, float | Array | None, str], list[Array]]] = {
    "alie": _alie,
    "ipm": _ipm,
    "min_max": _min_max,
    "min_sum": _min_sum,
}
