"""What holds for every registered partition."""

import inspect
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fedjax_layers.data
from fedjax_layers.data import partitions
from fedjax_layers.data.partitions import PARTITIONS, iid, partition
from fedjax_layers.options import options_of
from tests.data.partitions.cases import BALANCED, LEAVE_SOME_OUT, NOT_DRAWN, cases, usual


@pytest.mark.parametrize("name", PARTITIONS)
def test_every_example_has_one_owner_and_every_client_its_least_size(name):
    @settings(deadline=None, max_examples=60)
    @given(case=cases(name))
    def holds(case):
        labels, clients, seed, params = case
        owner = partition(name, labels, clients, seed, **params)
        assert owner.shape == labels.shape
        assert owner.dtype == np.int32
        assert -1 <= owner.min() <= owner.max() < clients
        if name not in LEAVE_SOME_OUT or (params.get("use_all") and name == "pfedla_2"):
            assert owner.min() >= 0
        sizes = np.bincount(owner[owner >= 0], minlength=clients)
        assert sizes.min() >= params.get("min_size", 1)

    holds()


@pytest.mark.parametrize("name", PARTITIONS)
def test_the_dtype_of_labels_and_the_global_generators_do_not_matter(name):
    @settings(deadline=None, max_examples=25)
    @given(case=cases(name), dtype=st.sampled_from(["i1", "<i2", ">i4", "<i8"]), noise=st.integers(0, 9))
    def holds(case, dtype, noise):
        labels, clients, seed, params = case
        before = partition(name, labels, clients, seed, **params)
        np.random.seed(noise)  # noqa: NPY002
        random.seed(noise)
        np.testing.assert_array_equal(partition(name, labels.astype(dtype), np.int64(clients), seed, **params), before)
        assert random.random() == random.Random(noise).random()  # the global generators are as they were
        assert np.random.random() == np.random.RandomState(noise).random_sample()  # noqa: NPY002

    holds()


@pytest.mark.parametrize("name", PARTITIONS)
def test_same_seed_same_clients_other_seed_others(name):
    one, two, other = (partition(name, BALANCED, 40, seed, **usual(name)) for seed in (5, 5, 6))
    np.testing.assert_array_equal(one, two)
    assert (one != other).mean() > 0.1 or name in NOT_DRAWN


@pytest.mark.parametrize("name", PARTITIONS)
def test_one_class_is_enough_unless_classes_are_told_apart(name):
    labels = np.full(600, 7)
    params = {option: values[:600] for option, values in usual(name).items()}
    few = {option: 1 for option in ("classes", "min_size") if option in options_of(PARTITIONS[name])}
    match name:
        case "pfedla_2":
            with pytest.raises(
                ValueError, match=r"dominant: expected 1\.\.0, fewer than the classes that occur, got 2"
            ):
                partition(name, labels, 4)
        case "classes_per_team":
            with pytest.raises(ValueError, match="team_classes: expected labels that occur in the data, got 0"):
                partition(name, labels, 4)
        case _:
            owner = partition(name, labels, 4, **params, **few)
            assert set(owner.tolist()) - {-1} == {0, 1, 2, 3}


@pytest.mark.parametrize("name", sorted(set(PARTITIONS) - {"natural"}))
@pytest.mark.parametrize(
    ("labels", "clients", "message"),
    [
        (BALANCED, 0, r"num_clients: expected 1\.\.6000, the number of examples, got 0"),
        (BALANCED, 6001, r"num_clients: expected 1\.\.6000, .* got 6001"),
        (BALANCED, 2.0, "num_clients: expected an integer, got 2.0"),
        (BALANCED, True, "num_clients: expected an integer, got True"),
        (BALANCED, None, "num_clients: expected an integer, got None"),
        (np.zeros((3, 2), int), 2, r"labels: expected 1-d integers, got shape \(3, 2\)"),
        (np.zeros(6), 2, "labels: expected 1-d integers, got shape .* of float64"),
        (np.zeros(6, bool), 2, "labels: expected 1-d integers, got shape .* of bool"),
        (np.zeros(0, int), 1, r"num_clients: expected 1\.\.0"),
    ],
)
def test_labels_and_clients_are_checked(name, labels, clients, message):
    params = {"clients": np.zeros(len(labels), int)} if name.startswith("natural") else {}
    with pytest.raises(ValueError, match=message) as error:
        partition(name, labels, clients, **params)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", [name for name in PARTITIONS if "min_size" in options_of(PARTITIONS[name])])
@pytest.mark.parametrize("min_size", [-1, 151, float("nan")])
def test_a_least_size_is_refused_where_there_is_not_so_much(name, min_size):
    with pytest.raises(ValueError, match=r"min_size: expected 0\.\.150 with 6000 examples for 40 clients, got"):
        partition(name, BALANCED, 40, **usual(name) | {"min_size": min_size})


ALPHAS = [(name, o) for name in PARTITIONS for o in sorted(options_of(PARTITIONS[name])) if o.endswith("alpha")]


@pytest.mark.parametrize(("name", "option"), ALPHAS)
@pytest.mark.parametrize("value", [0, -1.0, float("nan"), float("inf")])
def test_concentrations_are_positive_and_finite(name, option, value):
    with pytest.raises(ValueError, match=f"{option}: expected a positive, finite number, got {value}"):
        partition(name, BALANCED, 20, **usual(name) | {option: value})


@pytest.mark.parametrize(("name", "option"), ALPHAS)
@pytest.mark.parametrize("value", [1e-9, 1e9])
def test_concentrations_may_be_extreme(name, option, value):
    owner = partition(name, BALANCED, 20, **usual(name) | {option: value})
    assert np.bincount(owner, minlength=20).shape == (20,)


def test_unknown_names_are_refused_with_the_nearest():
    with pytest.raises(ValueError, match=r"partition: expected one of .* got 'dirichelt'; did you mean 'dirichlet'"):
        partition("dirichelt", BALANCED, 5)
    message = "'dirichlet': expected one of alpha, min_size, got 'alhpa'; .* 'alpha'"
    with pytest.raises(ValueError, match=message):
        partition("dirichlet", BALANCED, 5, alhpa=1)
    for name in ("natural", "natural_grouped", "natural_teams"):
        with pytest.raises(ValueError, match=f"partition '{name}': expected a value for 'clients', got none"):
            partition(name, BALANCED, 5)


def test_the_registry_holds_the_functions_by_their_names():
    for name, fn in PARTITIONS.items():
        assert fn.__name__ == name
        assert getattr(partitions, name) is fn
        assert name in partitions.__all__
    assert sorted(PARTITIONS) == list(PARTITIONS)
    assert all(hasattr(partitions, name) for name in partitions.__all__)
    assert fedjax_layers.data.PARTITIONS is PARTITIONS
    np.testing.assert_array_equal(partition("iid", BALANCED, 7, 3), iid(BALANCED, 7, 3))


@pytest.mark.parametrize("name", PARTITIONS)
def test_every_partition_tells_what_its_arguments_are(name):
    text = inspect.getdoc(PARTITIONS[name])
    for section in ("Args:", "Returns:", "Raises:"):
        assert section in text
    for argument in inspect.signature(PARTITIONS[name]).parameters:
        assert f"\n  {argument}: " in text, argument
