"""The memory of a compiled program, by the compiler's analysis, and an error before it runs where it does not fit.

The forecast knows only shapes. The memory of a network's activations, or of arrays stacked by a user's own algorithm,
shows here.
"""

from __future__ import annotations

import weakref
from typing import Any

import jax
import jax.numpy as jnp

from fedjax_layers.engine.intervals import Build, Inputs, algorithm_of, run_interval
from fedjax_layers.engine.memory.process import free_memory
from fedjax_layers.engine.plan import Plan
from fedjax_layers.host_memory import TooLargeError, spoken

_config: Any = jax.config
_analyses: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()  # an analysis takes milliseconds

_NEW = ("temp_size_in_bytes", "output_size_in_bytes")


def planned_bytes(program: Any, *, beside_arguments: bool = False) -> int | None:
    """Return the bytes that a compiled program takes on one device; ``None`` where the backend does not say.

    Args:
      program: a program compiled by JAX.
      beside_arguments: whether its arguments, which exist already, and results that take their place are left out.
    """
    if program not in _analyses:
        _analyses[program] = program.memory_analysis()
    found = _analyses[program]
    if found is None:
        return None
    parts = _NEW if beside_arguments else (*_NEW, "argument_size_in_bytes")
    return sum(int(getattr(found, part, 0)) for part in parts) - int(getattr(found, "alias_size_in_bytes", 0))


def refuse_too_large_rounds(build: Build, plan: Plan, state: Any, inputs: Inputs) -> None:
    """Raise ``TooLargeError`` for rounds that have no room in the memory that is free now.

    They are compiled here, and need not be compiled again to run. Where memory needs or free memory are not known,
    nothing happens.

    Args:
      build: the run's ``build``.
      plan: the run's plan.
      state: the state from which the rounds would start.
      inputs: the run's inputs.
    """
    if _config.jax_disable_jit:
        return
    program = run_interval.compiled(build, plan, state, inputs, jnp.int32(0), jnp.int32(0), jnp.int32(0))
    each, free = planned_bytes(program, beside_arguments=True), free_memory()
    if each is None or free is None:
        return
    needed = each * (plan.axis.num_devices if jax.default_backend() == "cpu" else 1)  # CPU devices share memory
    if needed <= free:
        return
    argument, got = "model, batch_size", "those"
    if plan.axis.width != 1:
        argument, got = "client_width", str(plan.axis.width or "all")
    elif inputs.sampling.size > 1 and algorithm_of(build, plan, inputs).memory.by_slot:
        argument, got = "cohort", str(inputs.sampling.size)
    room = f"expected less, so that the compiled rounds fit into the free {spoken(free)}"
    raise TooLargeError(f"{argument}: {room}, got {got}, with which they take {spoken(needed)}")
