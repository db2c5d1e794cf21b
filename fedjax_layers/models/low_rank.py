"""``fedjax_layers.low_rank``: low-rank adapters (LoRA) beside the frozen dense and attention kernels of any task."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from fedjax_layers.models.adapted import Adapted, Sides, kernels_of
from fedjax_layers.models.kernels import Kernel, evaluated
from fedjax_layers.ops import layer_map
from fedjax_layers.ops.checks import model_leaves
from fedjax_layers.options import unknown_name
from fedjax_layers.types import Adapters, Array, Key, LayerMap, Params, Task


def low_rank(
    task: Task,
    rank: int = 8,
    alpha: float = 16.0,
    *,
    targets: Sequence[str] = (),
    train: Sequence[str] = (),
    base: Params | None = None,
    seed: int = 0,
    example: Sequence[int] | jax.ShapeDtypeStruct | None = None,
) -> Task:
    """Make the task whose params are two thin matrices beside each dense or attention kernel, everything else frozen.

    A kernel ``W_0 [outputs, inputs]`` becomes ``W = W_0 + (alpha / rank) B A`` with ``A [rank, inputs]`` and
    ``B [outputs, rank]``. A is drawn evenly from ``[-1, 1] / sqrt(inputs)``, as the authors' code does, and B is 0, so
    that every model starts as the base. The base is a constant of the task: it is not sent, not stacked over clients,
    and not counted in bytes. A product takes ``W_0``, A and B in turn, so that W and its gradient never exist.

    Each adapted layer becomes two layers, ``NAME/A`` and ``NAME/B``, in the block of the layer, so that algorithms can
    share one and keep the other. Which kernels there are is found by tracing the model: leaves that are used in matrix
    products with activations alone, an attention layer's with its heads as one axis. Filters of convolutions,
    embeddings, biases and norms get no adapter.

    Args:
      task: the task of the model, as :func:`fedjax_layers.task` makes it.
      rank: r, at most the smaller side of every adapted kernel.
      alpha: the numerator of the scale ``alpha / rank``.
      targets: regular expressions for the kernels that get adapters; one matches the whole of a kernel's
        slash-separated path, or of a path above it, as a layer's name is. ``()`` means all kernels.
      train: regular expressions for layers, by name, that stay ordinary params and begin at the base: the head, say.
      base: the params ``W_0`` of ``task``; ``None`` draws them from ``seed``.
      seed: of the base where none is given; the same for all runs, whatever their own seeds.
      example: shape, or shape and dtype, of one stored example, for a task that does not know it.

    Returns:
      The task. ``task.adapters.merge(params)`` makes the dense model of its params.

    Raises:
      ValueError: a rank below 1 or above a kernel's smaller side; an expression that matches nothing; no kernel at all;
        a base of another tree or shape; no known example; a task with batch normalisation or with adapters already.

    Source: Hu et al. 2022 (arXiv 2106.09685).
    """
    _check(task, rank)
    shape = _example(task, example)
    whole = _matching(task.layers, train, "train")
    frozen = _base(task, base, seed)
    kernels = _chosen(task.layers, kernels_of(task, shape), targets, whole)
    for place, sides in kernels.items():
        _check_width(rank, task.layers.leaf_paths[place], sides.widths(task.layers.leaf_shapes[place]))
    model = _LowRank(task, rank, alpha, kernels, whole, frozen)
    layers, factors = model.layers()
    return task._replace(
        init=model.init,
        apply=model.around(task.apply),
        loss=model.around(task.loss),
        layers=layers,
        example=shape,
        adapters=Adapters(factors, rank, task, model.merge),
        features=None,  # those of the task are of its whole params
    )


class _LowRank:
    """Adapters of a base.

    Attributes:
      task: the task without adapters.
      paths: of its leaves, by which the params name adapters and trained leaves.
    """

    def __init__(
        self, task: Task, rank: int, alpha: float, kernels: dict[int, Sides], whole: set[int], base: list[Array]
    ) -> None:
        self.task, self.paths = task, task.layers.leaf_paths
        self._rank, self._scale, self._kernels, self._base = rank, alpha / rank, kernels, base
        self._trained = [place for place, layer in enumerate(task.layers.leaf_layers) if layer in whole]

    def init(self, key: Key) -> Params:
        """Draw A, set B to 0, and start the trained leaves at the base."""
        params: dict[str, Any] = {self.paths[place]: self._base[place] for place in self._trained}
        for place, sides in self._kernels.items():
            inputs, outputs = sides.widths(self._base[place].shape)
            kind, bound = self._base[place].dtype, inputs**-0.5
            a = jax.random.uniform(jax.random.fold_in(key, place), (self._rank, inputs), kind, -bound, bound)
            params[self.paths[place]] = {"A": a, "B": jnp.zeros((outputs, self._rank), kind)}
        return params

    def leaves(self, params: Params) -> list[Array | Kernel]:
        """Return the leaves of the dense model in the params' precision, those with adapters as stand-ins."""
        kind = jnp.result_type(*jax.tree.leaves(params))
        found: list[Any] = [x.astype(kind) if jnp.issubdtype(x.dtype, jnp.floating) else x for x in self._base]
        for place in self._trained:
            found[place] = params[self.paths[place]]
        for place, sides in self._kernels.items():
            own = params[self.paths[place]]
            found[place] = Adapted(found[place], own["A"], own["B"], *sides, self._scale)
        return found

    def around(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function of the adapters from one of the dense model."""
        treedef = self.task.layers.treedef
        return lambda params, *args: evaluated(fn, self.leaves(params), treedef, *args)

    def merge(self, params: Params) -> Params:
        """Return the dense model of one model's adapters."""
        leaves = [x.whole() if isinstance(x, Kernel) else x for x in self.leaves(params)]
        return jax.tree.unflatten(self.task.layers.treedef, leaves)

    def layers(self) -> tuple[LayerMap, tuple[str, ...]]:
        """Return the layer map of the adapters, and which leaves are an A or a B."""
        dense, order, blocks = self.task.layers, [], []
        for layer, name in enumerate(dense.names):
            own = [place for place in sorted(self._kernels) if dense.leaf_layers[place] == layer]
            for factor in ("A", "B") if own else ():
                order.append((f"{name}/{factor}", [f"{self.paths[place]}/{factor}" for place in own]))
                blocks.append(dense.blocks[layer])
            trained = [self.paths[place] for place in self._trained if dense.leaf_layers[place] == layer]
            if trained:
                order.append((name, trained))
                blocks.append(dense.blocks[layer])
        shapes = jax.eval_shape(self.init, jax.random.key(0))
        made = layer_map(shapes, [[re.escape(path) for path in paths] for _, paths in order])
        left = sorted(set(blocks))
        made = dataclasses.replace(
            made,
            names=tuple(name for name, _ in order),
            blocks=tuple(left.index(block) for block in blocks),
            block_names=tuple(dense.block_names[block] for block in left),
        )
        adapted = {f"{self.paths[place]}/{factor}": factor for place in self._kernels for factor in ("A", "B")}
        return made, tuple(adapted.get(path, "") for path in made.leaf_paths)


def _check(task: Task, rank: int) -> None:
    if task.adapters is not None:
        raise ValueError("task: expected one without adapters, got one that low_rank made")
    if task.batch_norm is not None:
        raise ValueError("task: expected a model without BatchNorm, whose statistics cannot be frozen, got one with it")
    if rank < 1:
        raise ValueError(f"rank: expected an integer of at least 1, got {rank}")


def _check_width(rank: int, path: str, widths: tuple[int, int]) -> None:
    if rank > min(widths):
        raise ValueError(
            f"rank: expected at most {min(widths)} for {path} of {widths[0]} inputs and {widths[1]} outputs, got {rank}"
        )


def _example(task: Task, given: Sequence[int] | jax.ShapeDtypeStruct | None) -> jax.ShapeDtypeStruct:
    if isinstance(given, jax.ShapeDtypeStruct):
        return given
    if given is not None:
        return jax.ShapeDtypeStruct(tuple(given), jnp.float32)
    if task.example is None:
        raise ValueError("example: expected the shape of a stored example for a task that does not know it, got None")
    return task.example


def _base(task: Task, given: Params | None, seed: int) -> list[Array]:
    """Return the leaves of the base."""
    if given is None:
        with jax.ensure_compile_time_eval():  # the base is a constant even where the task is made while tracing
            return jax.tree.leaves(jax.jit(task.init)(jax.random.key(seed)))
    leaves = [jnp.asarray(x) for x in model_leaves(given, task.layers, "base")]
    for path, shape, leaf in zip(task.layers.leaf_paths, task.layers.leaf_shapes, leaves, strict=True):
        if leaf.shape != shape:
            raise ValueError(f"base: expected {path} of shape {shape}, got {leaf.shape}")
    return leaves


def _matches(pattern: str, path: str, name: str) -> bool:
    """Return whether an expression matches a path, or one above it."""
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{name}: expected regular expressions, got {pattern!r}, {error}") from None
    parts = path.split("/")
    return any(re.fullmatch(pattern, "/".join(parts[: depth + 1])) for depth in range(len(parts)))


def _matching(layers: LayerMap, patterns: Sequence[str], name: str) -> set[int]:
    """Return the numbers of the layers whose names some expression matches."""
    found = set()
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        own = {layer for layer, known in enumerate(layers.names) if _matches(pattern, known, name)}
        if not own:
            raise unknown_name(name, pattern, layers.names)
        found |= own
    return found


def _chosen(layers: LayerMap, kernels: dict[int, Sides], targets: Sequence[str], whole: set[int]) -> dict[int, Sides]:
    """Return the kernels that get adapters."""
    free = {place: sides for place, sides in kernels.items() if layers.leaf_layers[place] not in whole}
    if not free:
        raise ValueError(f"task: expected a dense or attention layer to adapt, found none in {', '.join(layers.names)}")
    patterns = [targets] if isinstance(targets, str) else targets
    paths = {place: layers.leaf_paths[place] for place in free}
    for pattern in patterns:
        if not any(_matches(pattern, path, "targets") for path in paths.values()):
            raise unknown_name("targets", pattern, paths.values())
    return {
        p: s
        for p, s in free.items()
        if not patterns or any(_matches(pattern, paths[p], "targets") for pattern in patterns)
    }
