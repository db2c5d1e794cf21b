"""Convolutions that stay fast when each client has its own kernel, for ``nn.Conv(conv_general_dilated=...)``.

Vectorised over clients, a convolution with per-client kernels becomes a grouped convolution. XLA's CPU backend is slow
at that, and at a convolution inside a loop. As patches times a matrix it is a (batched) matmul, which every backend
runs well (the same remedy: github.com/pytorch/functorch, issue 365). A model uses it as
``nn.Conv(conv_general_dilated=client_conv())``.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from fedjax_layers.types import Array

Method = Literal["auto", "patches", "native"]
Padding = str | Sequence[tuple[int, int]]
Convolution = Callable[..., Array]  # with the arguments of jax.lax.conv_general_dilated

NATIVE = "native_convolution"  # the name in a traced function that shows that "native" was chosen

# Contraction length from which one matmul per kernel row is faster than a single one over whole patches (on CPU): the
# patches are smaller by the kernel's height, but the matmuls are thinner.
_ROW_CONTRACTION = 64


def client_conv(method: Method = "auto") -> Convolution:
    """Return the convolution for ``nn.Conv(conv_general_dilated=...)`` where clients have kernels of their own.

    All methods agree up to rounding, in values and in gradients of any order and mode: each is plain JAX.

    Args:
      method: ``"patches"`` is :func:`patches_conv`, ``"native"`` is :func:`jax.lax.conv_general_dilated`, and
        ``"auto"`` takes patches on CPU and the native convolution elsewhere, by JAX's default backend at the time of
        tracing: name the method to run on another device than that.

    Returns:
      The function; the same object each time, so that modules which hold it stay equal and hashable.

    Raises:
      ValueError: the method is unknown.
    """
    methods: dict[str, Convolution] = {"auto": _auto_conv, "patches": patches_conv, "native": _native_conv}
    if method not in methods:
        raise ValueError(f"method: expected one of {sorted(methods)}, got {method!r}")
    return methods[method]


def patches_conv(
    lhs: Array,
    rhs: Array,
    window_strides: Sequence[int],
    padding: Padding,
    *,
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    feature_group_count: int = 1,
    batch_group_count: int = 1,
    **options: Any,
) -> Array:
    """Convolve by multiplying shifted slices of the input with the kernel as a matrix.

    Any number of spatial axes, strides, paddings, dilations of input and kernel, feature groups and layouts is allowed.
    Batch groups (which ``nn.Conv`` never asks for) and empty outputs go to the native convolution.

    Args:
      lhs: inputs, ``[B, *spatial, C]`` in the layout that ``nn.Conv`` asks for.
      rhs: kernel, ``[*window, C / groups, O]`` in that layout.
      window_strides: one stride per spatial axis.
      padding: ``"SAME"``, ``"SAME_LOWER"``, ``"VALID"`` or one ``(low, high)`` per spatial axis.
      lhs_dilation: dilation of the input per spatial axis.
      rhs_dilation: dilation of the kernel per spatial axis.
      dimension_numbers: layout of ``lhs``, ``rhs`` and the result, as in JAX; ``None`` means channels first.
      feature_group_count: number of groups that the features are divided into.
      batch_group_count: as in JAX.
      **options: ``precision`` and ``preferred_element_type`` of the matmuls, as in JAX.

    Returns:
      The convolved inputs, ``[B, *spatial, O]`` in that layout.

    Raises:
      TypeError, ValueError, NotImplementedError: the errors of the native convolution for the same arguments.
    """
    dims = lax.conv_dimension_numbers(lhs.shape, rhs.shape, dimension_numbers)
    rank = lhs.ndim - 2
    lhs_dilation, rhs_dilation = (tuple(d or (1,) * rank) for d in (lhs_dilation, rhs_dilation))

    native: Convolution = functools.partial(
        lax.conv_general_dilated,
        window_strides=window_strides,
        padding=padding,
        lhs_dilation=lhs_dilation,
        rhs_dilation=rhs_dilation,
        dimension_numbers=dims,
        feature_group_count=feature_group_count,
        batch_group_count=batch_group_count,
        **options,
    )
    # Shape evaluation costs no arithmetic, raises the native convolution's errors, and gives the result's shape.
    out = jax.eval_shape(native, lhs, rhs)
    if batch_group_count != 1 or out.size == 0 or rhs.size == 0:
        return native(lhs, rhs)
    batch, features, *spatial = dims.lhs_spec
    x = _permute(lhs, (batch, *spatial, features))
    outputs, inputs, *window = dims.rhs_spec
    w = _permute(rhs, (*window, inputs, outputs))
    if isinstance(padding, str):
        effective = [(k - 1) * d + 1 for k, d in zip(w.shape, rhs_dilation, strict=False)]
        padding = lax.padtype_to_pads(x.shape[1:-1], effective, window_strides, padding)
    taps = _Taps(tuple(out.shape[a] for a in dims.out_spec[2:]), tuple(window_strides), rhs_dilation)
    product = functools.partial(_product, groups=feature_group_count, **options)
    y = _as_matmul(_pad(x, padding, lhs_dilation), w, taps, product)
    order = (dims.out_spec[0], *dims.out_spec[2:], dims.out_spec[1])
    return _permute(y, tuple(order.index(a) for a in range(y.ndim)))


def _native_conv(lhs: Array, rhs: Array, window_strides: Sequence[int], padding: Padding, **options: Any) -> Array:
    def chosen(lhs: Array, rhs: Array) -> Array:
        return lax.conv_general_dilated(lhs, rhs, window_strides, padding, **options)

    chosen.__name__ = NATIVE
    return jax.jit(chosen)(lhs, rhs)


def _auto_conv(lhs: Array, rhs: Array, window_strides: Sequence[int], padding: Padding, **options: Any) -> Array:
    chosen = patches_conv if jax.default_backend() == "cpu" else _native_conv
    return chosen(lhs, rhs, window_strides, padding, **options)


class _Taps(NamedTuple):
    """The slicing of a padded input, one slice per position in the kernel's window; fields have an entry per axis."""

    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]

    def take(self, x: Array, axis: int, tap: int) -> Array:
        """Slice what kernel position ``tap`` along spatial ``axis`` multiplies in ``x [B, *spatial, C]``."""
        stride, start = self.strides[axis], tap * self.dilations[axis]
        return lax.slice_in_dim(x, start, start + (self.sizes[axis] - 1) * stride + 1, stride, axis=axis + 1)

    def concatenate(self, x: Array, axis: int, window: int) -> Array:
        """Concatenate the slices of all positions along ``axis`` in the last axis, ``[..., window * C]``."""
        return jnp.concatenate([self.take(x, axis, t) for t in range(window)], axis=-1)


def _as_matmul(x: Array, w: Array, taps: _Taps, product: Convolution) -> Array:
    """Convolve ``x [B, *spatial, C]``, which is padded, with ``w [*window, C / groups, O]``.

    Slices are taken axis by axis, the last axis first, which makes fewer and longer copies than one slice per position
    of the window.
    """
    window = w.shape[:-2]
    for axis in range(len(window) - 1, 0, -1):
        x = taps.concatenate(x, axis, window[axis])
    if len(window) > 1 and math.prod(w.shape[1:-1]) >= _ROW_CONTRACTION:
        rows = [product(taps.take(x, 0, t), w[t]) for t in range(window[0])]
        return sum(rows[1:], start=rows[0])
    if window:
        x = taps.concatenate(x, 0, window[0])
    return product(x, w)


def _product(patches: Array, kernel: Array, groups: int, **options: Any) -> Array:
    """Multiply ``[..., taps * C]`` by ``[*taps, C / groups, O]``; features lie group by group on both sides."""
    *_, per_group, outputs = kernel.shape
    lead = patches.shape[:-1]
    if groups == 1:
        matrix = kernel.reshape(-1, outputs)
        flat = lax.dot(patches.reshape(-1, matrix.shape[0]), matrix, **options)
        return flat.reshape(*lead, outputs)
    left = patches.reshape(math.prod(lead), -1, groups, per_group)
    right = kernel.reshape(-1, per_group, groups, outputs // groups)
    return jnp.einsum("mtgc,tcgo->mgo", left, right, **options).reshape(*lead, outputs)


def _pad(x: Array, padding: Sequence[tuple[int, int]], dilation: Sequence[int]) -> Array:
    inner = [(low, high, d - 1) for (low, high), d in zip(padding, dilation, strict=True)]
    if not any(any(p) for p in inner):
        return x
    return lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *inner, (0, 0, 0)])


def _permute(x: Array, axes: tuple[int, ...]) -> Array:
    return x if axes == tuple(range(x.ndim)) else jnp.transpose(x, axes)
