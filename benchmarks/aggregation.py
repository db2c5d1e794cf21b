"""The means over clients beside one plain reduction over the same bytes; goal: at most 1.3 times its time.

python benchmarks/aggregation.py
"""

from __future__ import annotations

import statistics
import time

import jax
import jax.numpy as jnp

from fedjax_layers import ops

SHAPES = {
    "8 clients × 1.6 M": {"a": {"w": (3136, 512)}, "b": {"w": (512, 10)}},
    "100 clients × 0.2 M": {"a": {"w": (784, 200)}, "b": {"w": (200, 200)}},
    "100,000 clients × 610": {"a": {"w": (60, 10), "b": (10,)}},
}
REPEATS = 9


def seconds(fn, *args) -> float:
    """One warm call."""
    began = time.perf_counter()
    jax.block_until_ready(fn(*args))
    return time.perf_counter() - began


def main() -> None:
    """Time each op in turn with the plain sum; print medians and ratios."""
    for name, shapes in SHAPES.items():
        clients = int(name.split()[0].replace(",", ""))
        is_shape = lambda x: isinstance(x, tuple)  # noqa: E731
        one = jax.tree.map(jnp.zeros, shapes, is_leaf=is_shape)
        stacked = jax.tree.map(lambda s, n=clients: jnp.ones((n, *s)), shapes, is_leaf=is_shape)
        layers = ops.layer_map(one, order=list(shapes))
        weights = jnp.arange(1.0, clients + 1)
        per_layer = jnp.ones(layers.num_layers, bool)
        variants = {
            "plain jnp.sum": (jax.jit(lambda s: jax.tree.map(lambda x: x.sum(0), s)), stacked),
            "weighted_mean": (jax.jit(ops.weighted_mean), stacked, weights),
            "masked_mean [L]": (
                jax.jit(lambda s, w, m, f, layers=layers: ops.masked_mean(s, w, m, layers, f)),
                stacked, weights, per_layer, one,
            ),
            "masked_mean [K, L]": (
                jax.jit(lambda s, w, m, f, layers=layers: ops.masked_mean(s, w, m, layers, f)),
                stacked, weights, jnp.broadcast_to(per_layer, (clients, layers.num_layers)), one,
            ),
        }  # fmt: skip
        for fn, *args in variants.values():
            seconds(fn, *args)
        times: dict[str, list[float]] = {variant: [] for variant in variants}
        for _ in range(REPEATS):
            for variant, (fn, *args) in variants.items():
                times[variant].append(seconds(fn, *args))
        plain = statistics.median(times["plain jnp.sum"])
        print(name)
        for variant, found in times.items():
            median = statistics.median(found)
            print(f"  {variant:20} {1e3 * median:9.2f} ms   {median / plain:5.2f} × plain")


if __name__ == "__main__":
    main()
