"""Compilations of a block, counted though tests keep programs for one another."""

import contextlib

import jax
from jax.experimental.compilation_cache import compilation_cache

from fedjax_layers.engine.programs.compile_clock import compile_clock


@contextlib.contextmanager
def count_compilations():
    """The product's clock; inside the block no program is read from the folder that the tests share."""
    before = jax.config.jax_enable_compilation_cache
    _use_folder(False)
    try:
        with compile_clock() as clock:
            yield clock
    finally:
        _use_folder(before)


def _use_folder(use):
    jax.config.update("jax_enable_compilation_cache", use)
    compilation_cache.reset_cache()  # JAX looks at the setting once
