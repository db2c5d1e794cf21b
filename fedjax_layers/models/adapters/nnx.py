"""Flax NNX modules: split into params and structure, with dropout's keys and the masks of batch norms handed in."""

from __future__ import annotations

import contextvars
import functools
import re
from collections.abc import Iterator
from typing import Any

import jax

from fedjax_layers.models.adapters.network import Network, Path, at, built, mode, nested, parameters_of, shapes_of
from fedjax_layers.models.first_use import Owners, order_of_use
from fedjax_layers.types import Array, Key, Params

_MASK: contextvars.ContextVar[Array | None] = contextvars.ContextVar("_MASK", default=None)


def nnx_network(model: Any, sample: jax.ShapeDtypeStruct) -> Network:
    """Make a network of an NNX module, with its running statistics among the params.

    The params are nested dictionaries of the module's ``Param`` and ``BatchStat`` variables. Every step merges them
    with the module's structure anew, in training or evaluation mode, and gives each of its streams of random numbers a
    key of its own, made from the step's key.

    Args:
      model: the module, whose weights every model then starts from; or a function from ``rngs`` to a module, which
        draws them from each run's seed.
      sample: shape and dtype of one preprocessed batch.

    Raises:
      ValueError: the function fails or returns no module; the module has state that is neither a parameter, nor batch
        statistics of ``nnx.BatchNorm``, nor a stream of random numbers.
    """
    from flax import nnx  # noqa: PLC0415  (only for those who use it)

    def build(key: Key) -> Any:
        return built(model, nnx.Module, rngs=nnx.Rngs(key))

    given = isinstance(model, nnx.Module)
    example = model if given else build(jax.random.key(0))
    parts = _Parts(example)
    start = parts.values(example) if given else None
    known = shapes_of(parts.values(example))

    def init(key: Key) -> Params:
        return parts.values(build(key)) if start is None else start

    def train(params: Params, x: Array, mask: Array, key: Key) -> tuple[Array, Params]:
        outputs, moved = parts.forward(params, x, key, mask)
        return outputs, nested({name: moved.get(name, at(params, name)) for name in parts.names})

    def apply(params: Params, x: Array, key: Key | None) -> Array:
        return parts.forward(params, x, key)[0]

    affine = [name for name in parts.names if name[:-1] in parts.norms and name not in parts.statistics]
    return Network(
        known,
        init,
        apply,
        lambda: order_of_use(apply, known, sample, parts.owners),
        train if parts.statistics else None,
        tuple(map(_pattern, parts.statistics)),
        tuple(map(_pattern, affine if parts.statistics else ())),
    )


class _Parts:
    """A module taken apart.

    Attributes:
      graphs: the module's structure, by whether it is in training mode.
      flat: path and variable of all its state, without the values of params.
      names: paths of the params: parameters, and statistics.
      statistics: paths of the statistics alone.
      norms: paths of the modules that keep them.
      owners: what is needed to group the leaves to layers.
    """

    def __init__(self, module: Any) -> None:
        from flax import nnx  # noqa: PLC0415

        graph, state = nnx.split(module)
        self.graphs = {}
        for training in (True, False):
            copy = nnx.merge(graph, state)
            (copy.train if training else copy.eval)()
            self.graphs[training] = nnx.split(copy)[0]
        self.call = type(module).__call__
        modules = {_named(path): one for path, one in nnx.iter_modules(module)}
        self.norms = {path for path, one in modules.items() if isinstance(one, nnx.BatchNorm)}
        self.owners = Owners(frozenset(modules), frozenset(path for path, one in modules.items() if _is_norm(one)))
        self.flat: list[tuple[Any, Any]] = []
        self.names: list[Path] = []
        self.statistics: list[Path] = []
        for path, variable in nnx.to_flat_state(state):
            if not isinstance(variable, nnx.Param | nnx.BatchStat):
                _check_other(path, variable)
                self.flat.append((path, variable))
                continue
            self.names.append(_named(path))
            if isinstance(variable, nnx.BatchStat):
                _check_statistics(path, modules)
                self.statistics.append(_named(path))
            self.flat.append((path, variable.replace(jax.ShapeDtypeStruct(variable.shape, variable.dtype))))

    def values(self, module: Any) -> Params:
        """Return the values of a module's params as nested dictionaries."""
        from flax import nnx  # noqa: PLC0415

        found = {_named(path): variable for path, variable in nnx.to_flat_state(nnx.split(module)[1])}
        return nested({name: found[name].get_value() for name in self.names})

    def forward(
        self, params: Params, x: Array, key: Key | None, mask: Array | None = None
    ) -> tuple[Array, dict[Path, Array]]:
        """Run the module; return its outputs, and its statistics afterwards by path."""
        from flax import nnx  # noqa: PLC0415

        module = nnx.merge(self.graphs[key is not None], nnx.from_flat_state(list(self._filled(params, key))))
        arguments: dict[str, Any] = dict(mode(self.call, key is None))
        if key is not None and "rngs" in parameters_of(self.call):
            arguments["rngs"] = nnx.Rngs(jax.random.fold_in(key, len(self.flat)))
        if mask is None:
            return module(x, **arguments), {}
        for _, norm in nnx.iter_modules(module):
            if isinstance(norm, nnx.BatchNorm):  # this object lives as long as the step alone
                object.__setattr__(norm, "__class__", _masked(type(norm)))
        token = _MASK.set(mask)
        try:
            outputs = module(x, **arguments)
        finally:
            _MASK.reset(token)
        after = nnx.to_flat_state(nnx.state(module, nnx.BatchStat))
        return outputs, {_named(path): variable.get_value() for path, variable in after}

    def _filled(self, params: Params, key: Key | None) -> Iterator[tuple[Any, Any]]:
        """Yield path and variable of all state, with these params and, in training, keys made from ``key``."""
        from flax import nnx  # noqa: PLC0415

        names = set(self.names)
        for number, (path, variable) in enumerate(self.flat):
            if _named(path) in names:
                yield path, variable.replace(at(params, _named(path)))
            elif key is not None and isinstance(variable, nnx.RngKey):
                own = jax.random.fold_in(key, number)  # two dropouts must not draw the same mask
                yield path, variable.replace(jax.random.split(own, variable.shape) if variable.shape else own)
            else:  # a new variable, of this trace: one of another cannot be changed
                yield path, variable.replace(variable.get_value()) if isinstance(variable, nnx.Variable) else variable


@functools.cache
def _masked(kind: type) -> type:
    """Return the class of a norm whose statistics leave out the rows that :data:`_MASK` does not mark."""

    def call(self: Any, x: Array, *args: Any, **kwargs: Any) -> Array:
        mask = _MASK.get()
        if mask is not None:
            if x.shape[:1] != mask.shape:
                raise ValueError(f"model: expected {mask.shape[0]} rows as the batch in a BatchNorm, found {x.shape}")
            kwargs = {"mask": mask.reshape(mask.shape + (1,) * (x.ndim - 1))} | kwargs
        return kind.__call__(self, x, *args, **kwargs)

    return type(kind.__name__, (kind,), {"__call__": call})


def _named(path: Any) -> Path:
    return tuple(map(str, path))


def _pattern(path: Path) -> str:
    return re.escape("/".join(path))


def _is_norm(module: Any) -> bool:
    from flax import nnx  # noqa: PLC0415

    usual = (nnx.BatchNorm, nnx.LayerNorm, nnx.GroupNorm, nnx.RMSNorm, nnx.InstanceNorm)
    return isinstance(module, usual) or type(module).__name__.endswith("Norm")


def _check_other(path: Any, variable: Any) -> None:
    """Refuse state that a step may change, other than streams of random numbers; plain arrays are constants."""
    from flax import nnx  # noqa: PLC0415

    if isinstance(variable, nnx.Variable) and not isinstance(variable, nnx.RngState):
        name, kind = "/".join(_named(path)), type(variable).__name__
        raise ValueError(f"model: expected no state but parameters and batch statistics, found {kind} {name!r}")


def _check_statistics(path: Any, modules: dict[Path, Any]) -> None:
    from flax import nnx  # noqa: PLC0415

    norm = modules.get(_named(path)[:-1])
    if not isinstance(norm, nnx.BatchNorm) or type(norm).__call__ is not nnx.BatchNorm.__call__:
        name = "/".join(_named(path))
        raise ValueError(f"model: expected batch statistics of flax.nnx.BatchNorm alone, found {name!r}")
