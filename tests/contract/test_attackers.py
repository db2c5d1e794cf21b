"""Bad clients that send something else than they trained: what they keep for themselves is what they trained."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_layers import algorithms
from fedjax_layers.options import options_of
from tests import toy
from tests.rounds import rounds_of

ALL = list(range(toy.CLIENTS))
BAD = jnp.asarray([True, False, False, True, False])
TEAMS = {"team_of": (0, 0, 0, 1, 1), "num_teams": 2, "team_rounds": 1}


def shifted(key, ident, start, trained):
    """Bad clients send a model that is far away."""
    del key, start
    return jax.tree.map(lambda x: jnp.where(BAD[ident], x + 100, x), trained)


@pytest.mark.parametrize("name", ["player_fl", "fedrep", "ditto", "apfl", "permfl", "pfedla"])
def test_a_bad_client_keeps_what_it_trained(name, x64):
    options = TEAMS if "team_of" in options_of(algorithms.registry[name]) else {}
    honest, attacked = (
        rounds_of(name, options, **attack).run([ALL, ALL], pad_to=5) for attack in ({}, {"attack": shifted})
    )
    trained = [infos[0].observed for _, infos in (honest, attacked)]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12), *trained)
    second = [toy.to_numpy(infos[1].observed) for _, infos in (honest, attacked)]
    moved = jax.tree.map(lambda a, b: np.abs(a - b).reshape(toy.CLIENTS, -1).max(1), *second)
    reached = np.max(jax.tree.leaves(moved), axis=0)
    assert (reached[~np.asarray(BAD)] > 1e-3).all(), "the attack reaches the others"


def test_its_own_layers_are_not_poisoned(x64):
    (_, state), _ = rounds_of("fedper", attack=shifted).run([ALL], pad_to=5)
    (_, honest), _ = rounds_of("fedper").run([ALL], pad_to=5)
    kept = state.clients, honest.clients
    assert jax.tree.leaves(kept[0])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12), *kept)
