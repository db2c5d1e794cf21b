"""A sharing rule with an objective: what it reduces to, what clients are served, and what is refused."""

import pathlib

import jax
import numpy as np
import pytest

from fedjax_layers.algorithms import OBJECTIVES, registry
from fedjax_layers.algorithms.composition import with_objective
from fedjax_layers.options import options_of
from tests import toy
from tests.rounds import rounds_of

ROUNDS = ([0, 2, 4], [3, 1], [2, 3, 0])


def after(name, args=None, rounds=ROUNDS):
    made = rounds_of(name, args)
    states, _ = made.run(rounds, pad_to=3)
    models = toy.to_numpy(made.models(states[-1]))
    return models, made, states[-1]


@pytest.mark.parametrize(("objective", "args"), [("fedprox", {"mu": 0.3}), ("ditto", {"lam": 0.6}), ("scaffold", {})])
@pytest.mark.parametrize(("rule", "all_layers"), [("fedper", {"personal_layers": 0}), ("player_fl", {"fixed_cut": 3})])
def test_where_all_layers_are_shared_a_combination_is_the_objectives_algorithm(rule, all_layers, objective, args, x64):
    """The mask of all layers is an argument there, so that the programs differ in their last bits."""
    found, *_ = after(f"{rule}+{objective}", all_layers | args)
    expected, *_ = after(objective, args)
    other = expected.global_model if expected.personal is None else expected.personal
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, np.broadcast_to(b, a.shape), rtol=1e-12, atol=1e-14),
                 found.personal, other)  # fmt: skip


@pytest.mark.parametrize(("objective", "args"), [("fedprox", {"mu": 0.3}), ("ditto", {"lam": 0.6}), ("scaffold", {})])
def test_the_sharing_of_all_layers_by_name_is_the_same_to_the_bit(objective, args, x64):
    found, expected = after(f"fedavg+{objective}", args), after(objective, args)
    jax.tree.map(np.testing.assert_array_equal, found[0], expected[0])


def test_personal_layers_are_not_pulled_and_not_corrected(x64):
    """The last layer of fedper is trained on the plain loss; with one round it moves as in fedper itself."""
    start = {"personal_layers": 1}
    plain = after("fedper", start, rounds=([0, 2, 4],))[2]
    for name, args in (("fedper+fedprox", {"mu": 0.0}), ("fedper+scaffold", {})):
        state = after(name, start | args, rounds=([0, 2, 4],))[2]
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), state.clients, plain.clients)
    scaffold = after("fedper+scaffold", start)[2]
    assert not np.any(scaffold.common[-1]["w"]), "nothing is summed of a layer that stays with its clients"
    assert np.any(scaffold.common[0]["w"])


def test_clients_never_seen_are_served_what_the_rule_serves(x64):
    rounds = ([0, 2], [3, 2])
    found, made, state = after("player_fl+ditto", {"threshold": 0.9, "lam": 0.6}, rounds)
    plain = after("player_fl", {"threshold": 0.9}, rounds)[0]
    for client in (1, 4):
        jax.tree.map(
            lambda a, b, c=client: np.testing.assert_allclose(a[c], b[c], rtol=1e-12), found.personal, plain.personal
        )
    served = made.algorithm.personal(state).completed()
    welcomed = made.algorithm.welcome(state, served.shared, np.arange(toy.CLIENTS))
    own = toy.to_numpy(welcomed.sharing.objective[0])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), own, found.personal)


def test_a_combination_has_the_options_of_its_parts():
    assert set(options_of(registry["player_fl+ditto"])) == {
        *options_of(registry["player_fl"]),
        *options_of(OBJECTIVES["ditto"]),
    }
    assert "player_fl+ditto" not in list(registry)
    assert registry["player_fl+ditto"] is registry.get("player_fl+ditto")
    assert registry.get("player_fl+adam") is None


COMBINED = [
    ({"algorithm": "player_fl", "objective": "scaffold"}, "player_fl+scaffold"),
    ({"algorithm": "scaffold", "sharing": "player_fl"}, "player_fl+scaffold"),
    ({"algorithm": "fedavg", "sharing": "fedtlu", "objective": "ditto"}, "fedtlu+ditto"),
    ({"algorithm": "fedavg", "objective": "ditto"}, "ditto"),
    ({"algorithm": "fedavg", "sharing": "fedper"}, "fedper"),
    ({"algorithm": "fedavg+ditto"}, "ditto"),
]


@pytest.mark.parametrize(("parts", "name"), COMBINED)
def test_parts_have_one_name(parts, name):
    assert registry.combination(**parts) == name


REFUSED = [
    ({"algorithm": "ditto", "objective": "scaffold"}, "objective: expected none beside ditto"),
    ({"algorithm": "player_fl+ditto", "objective": "ditto"}, "objective: expected none beside player_fl"),
    ({"algorithm": "player_fl", "sharing": "fedtlu"}, "sharing: expected none beside player_fl"),
    ({"algorithm": "permfl", "objective": "ditto"}, "objective: expected it with a sharing rule"),
    ({"algorithm": "local", "objective": "fedprox"}, "objective: expected it with a sharing rule"),
    ({"algorithm": "fedavg", "objective": "fedprx"}, "did you mean 'fedprox'"),
    ({"algorithm": "fedavg", "sharing": "permfl"}, "sharing: expected one of"),
    ({"algorithm": "fedavgg"}, "did you mean 'fedavg'"),
]


@pytest.mark.parametrize(("parts", "message"), REFUSED)
def test_what_has_no_meaning_is_refused(parts, message):
    with pytest.raises(ValueError, match=message):
        registry.combination(**parts)


@pytest.mark.parametrize("name", ["ditto", "permfl", "pfedla"])
def test_an_algorithm_that_is_more_than_a_rule_takes_no_objective(name, x64):
    trainer = toy.make_trainer(toy.make_task())
    made = with_objective(registry[name], OBJECTIVES["fedprox"]())
    with pytest.raises(ValueError, match="objective: expected"):
        made(trainer)


def test_options_and_parts_are_checked(x64):
    with pytest.raises(ValueError, match="mu: expected at least 0"):
        OBJECTIVES["fedprox"](mu=-1.0)
    with pytest.raises(ValueError, match="once more after the last round"):
        registry["local_adaptation+ditto"](toy.make_trainer(toy.make_task()))


def test_the_page_lists_the_rules_and_the_objectives():
    page = (pathlib.Path(__file__).parents[2] / "docs" / "composition.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in page for name in (*registry.rules, *OBJECTIVES))
