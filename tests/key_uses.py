"""What a computation does with its random keys, as it runs: which are drawn with, split, or folded into, and where.

JAX's own check, ``jax_debug_key_reuse``, follows the variables of one traced function: it does not see that two of them
hold the same key, and folding never counts as a use. Here the keys' values are compared.
"""

import collections
import contextlib
import inspect
import pathlib
import sys

import jax
import jax.numpy as jnp
from jax.dtypes import prng_key

STREAM = 2**31  # numbers from here on are named streams


class Uses:
    """Every use of every key: ``kinds[key]`` counts pairs ``(what, where)``."""

    def __init__(self):
        self.kinds = collections.defaultdict(collections.Counter)

    def pop(self):
        """What was noted so far; begins anew."""
        jax.effects_barrier()
        done = Uses()
        done.kinds, self.kinds = self.kinds, done.kinds
        return done

    def add(self, what, where, key, number=None):
        """Note one use; ``number`` is what was folded in."""
        if what == "folded" and int(number) >= STREAM:
            what = "named"
        self.kinds[key.tobytes()][what, where] += 1

    @property
    def drawn(self):
        """The keys that random numbers were drawn with."""
        return {key for key, found in self.kinds.items() if any(what == "drawn" for what, _ in found)}

    def places(self, what="drawn"):
        """Where something was done with keys."""
        return {where for found in self.kinds.values() for kind, where in found if kind == what}

    def clashes(self):
        """What was done, and where, with keys that were used in more than one way, or drawn with in several places.

        Named streams may be folded into any key; see :mod:`fedjax_layers.clients.keys`.
        """
        found = (sorted((what, where) for what, where in uses if what != "named") for uses in self.kinds.values())
        return {
            ", ".join(f"{what} in {where}" for what, where in uses)
            for uses in found
            if len({what for what, _ in uses}) > 1 or sum(what == "drawn" for what, _ in uses) > 1
        }

    def repeats(self):
        """Places that drew more than once with one key."""
        return {where for uses in self.kinds.values() for (what, where), n in uses.items() if what == "drawn" and n > 1}


@contextlib.contextmanager
def recorded():
    """Yields :class:`Uses`; what is traced meanwhile notes there what it does with keys whenever it runs."""
    uses = Uses()
    plain = {
        name: fn
        for name, fn in vars(jax.random).items()
        if callable(fn) and not name.startswith("_") and name != "clone" and _first_argument(fn) == "key"
    }
    for name, fn in plain.items():
        setattr(jax.random, name, _noting(uses, {"split": "split", "fold_in": "folded"}.get(name, "drawn"), fn))
    try:
        yield uses
        jax.effects_barrier()
    finally:
        for name, fn in plain.items():
            setattr(jax.random, name, fn)


def _first_argument(fn):
    try:
        return next(iter(inspect.signature(fn).parameters), None)
    except (TypeError, ValueError):
        return None


def _noting(uses, what, fn):
    def noting(key, *args, **options):
        caller = sys._getframe(1).f_code
        where = f"{pathlib.Path(caller.co_filename).stem}.{caller.co_name}"
        data = jax.random.key_data(key) if jnp.issubdtype(key.dtype, prng_key) else key
        number = () if what != "folded" else (jnp.asarray(args[0] if args else options["data"], jnp.uint32),)
        jax.debug.callback(lambda key, *number: uses.add(what, where, key, *number), data, *number)
        return fn(key, *args, **options)

    return noting
