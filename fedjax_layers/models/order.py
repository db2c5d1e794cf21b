"""Functions that list the layers of a Linen module in the order of its forward pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax

from fedjax_layers.models.layer_groups import Path, Unit, group_layers

_NORMS = (nn.BatchNorm, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.InstanceNorm)


def call_order(module: nn.Module, *args: Any, **kwargs: Any) -> tuple[tuple[str, ...], ...]:
    """List the layers of ``module`` in call order, for :func:`fedjax_layers.ops.layer_map`.

    The forward pass is traced, never run. A layer is a module with parameters of its own and stands where one
    of its methods is first called, so ``Dense_10`` comes after ``Dense_9``, and a module used twice, or an
    embedding that is tied to the output, stands at its first use. Norms (Flax's own, and any module without
    children whose class name ends in "Norm") belong to the layer that they follow; those before the first
    layer of their parent belong to it, so that the norm that a transformer block begins with is that block's.
    ``WeightNorm`` belongs to the layer that it wraps. Parameters that a module with children owns itself (a
    class token, a table of positions) are one layer, which stands where that module is entered.

    Args:
      module: the unbound module.
      *args: sample arguments of its forward pass, arrays or ``ShapeDtypeStruct``.
      **kwargs: further arguments of ``module.apply``, static ones such as ``deterministic`` or ``method``.

    Returns:
      One entry per layer: regular expressions that match its modules' paths, or its leaves' paths where the
      module's own path would match its children too.

    Raises:
      ValueError: the forward pass never calls the module of some parameter (it is named), or there are no parameters.
    """
    keys = {name: jax.random.key(0) for name in ("params", "dropout")}
    called: dict[Path, nn.Module] = {}
    known: set[Path] = set()

    def watch(follow: Callable[..., Any], a: Any, k: Any, context: Any) -> Any:
        path = tuple(context.module.path)
        known.add(path)
        # Linen runs setup() of a module when it is first accessed, even if it is never called.
        if context.method_name != "setup":
            called.setdefault(path, context.module)
        return follow(*a, **k)

    def forward(*a: Any) -> Any:
        known.clear()
        with nn.intercept_methods(watch):
            variables = module.init(keys, *a, **kwargs)
            # Modules that are called only while parameters are made do not belong to the forward pass.
            called.clear()
            module.apply(variables, *a, rngs=keys, mutable=True, **kwargs)
        return variables.get("params", {})

    params = jax.eval_shape(forward, *args)
    leaves = [tuple(k.key for k in path) for path, _ in jax.tree_util.tree_flatten_with_path(params)[0]]
    if not leaves:
        raise ValueError(f"module: expected parameters, found none in {type(module).__name__}")
    owned = _owned(leaves, called, known)
    return group_layers(
        [
            Unit(path, owned[path], _is_norm(module), isinstance(module, nn.WeightNorm))
            for path, module in called.items()
            if path in owned
        ]
    )


def block_order(order: Sequence[Sequence[str]], depth: int = 1) -> tuple[str, ...]:
    """Group layers by the first components of their paths: a residual or a transformer block.

    Args:
      order: the result of :func:`call_order`.
      depth: number of leading path components that name a block.

    Returns:
      One expression per block, in order of first appearance, the path that its layers begin with: ``blocks`` of
      :func:`fedjax_layers.ops.layer_map`.

    Raises:
      ValueError: ``depth`` is below 1.
    """
    if depth < 1:
        raise ValueError(f"depth: expected at least 1, got {depth}")
    return tuple(dict.fromkeys("/".join(entry[0].split("/")[:depth]) for entry in order))


def _owned(leaves: Sequence[Path], called: dict[Path, nn.Module], known: set[Path]) -> dict[Path, list[Path]]:
    """Find the leaves of each module; a leaf belongs to the innermost module on its path."""
    owned: dict[Path, list[Path]] = {}
    for leaf in leaves:
        owner = max((leaf[:n] for n in range(len(leaf)) if leaf[:n] in known), key=len, default=())
        if owner not in called:
            raise ValueError(
                f"module: expected every module to be called, found that {'/'.join(owner)!r}, "
                f"owner of {'/'.join(leaf)!r}, never is"
            )
        owned.setdefault(owner, []).append(leaf)
    return owned


def _is_norm(module: nn.Module) -> bool:
    return isinstance(module, _NORMS) or type(module).__name__.endswith("Norm")
