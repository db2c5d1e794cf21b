"""Compilations of a block, counted though tests keep programs for one another."""

import contextlib

import jax
from jax.experimental.compilation_cache import compilation_cache

from fedjax_layers.engine.programs.compile_clock import _FROM_CACHE, CompileClock


class _AnyProgram(CompileClock):
    """The product's clock, for which a program that another test left in the folder counts as compiled."""

    def _listen(self, event, duration_secs, **named):
        if event != _FROM_CACHE:
            super()._listen(event, duration_secs, **named)


@contextlib.contextmanager
def count_compilations():
    """The clock of a block."""
    clock = _AnyProgram()
    jax.monitoring.register_event_duration_secs_listener(clock._listen)
    try:
        yield clock
    finally:
        jax.monitoring.unregister_event_duration_listener(clock._listen)


@contextlib.contextmanager
def programs_of_its_own():
    """Inside the block no program is read from the folder that the tests share: for what the product counts itself."""
    before = jax.config.jax_enable_compilation_cache
    _use_folder(False)
    try:
        yield
    finally:
        _use_folder(before)


def _use_folder(use):
    jax.config.update("jax_enable_compilation_cache", use)
    compilation_cache.reset_cache()  # JAX looks at the setting once
