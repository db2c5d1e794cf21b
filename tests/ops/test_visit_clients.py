"""A pass over clients beside a loop over them in NumPy: outputs, sums and the store, whatever the width and devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_layers.ops import ClientAxis, Term, Visit, settle, visit_clients

C, T = 11, 3
RNG = np.random.default_rng(0)
STORE = {"own": RNG.normal(size=(C, 4)).astype(np.float32), "turns": np.arange(C, dtype=np.int32)}
PLACES = np.array([9, 3, 0, 5, 10, 2, 1], np.int32)
PRESENT = np.array([True, True, True, False, True, True, True])


def visit(own, number, ident, factor):
    trained = own["own"] * factor + number
    sums = {
        "weighted": Term(trained, number**2),
        "counted": Term(own["turns"]),
        "by_team": Term(trained, number**2, ident % T, T),
    }
    return Visit(trained.sum(), sums, {"own": trained, "turns": own["turns"] + 1})


def by_hand(numbers, places, present):
    out, store = [], {name: x.copy() for name, x in STORE.items()}
    sums = {"weighted": np.zeros(4), "counted": 0, "by_team": np.zeros((T, 4))}
    for number, place, there in zip(numbers, places, present, strict=True):
        trained = STORE["own"][place] * 2 + number
        out.append(trained.sum())
        if there:
            sums["weighted"] += number**2 * trained
            sums["counted"] += STORE["turns"][place]
            sums["by_team"][place % T] += number**2 * trained
            store["own"][place], store["turns"][place] = trained, store["turns"][place] + 1
    return out, sums, store


def axes():
    mesh = jax.make_mesh((8,), ("clients",), axis_types=(jax.sharding.AxisType.Auto,))
    return [ClientAxis(width) for width in (None, 1, 2, 3, 7, 20)] + [ClientAxis(None, mesh), ClientAxis(1, mesh)]


@pytest.mark.parametrize("axis", axes(), ids=lambda a: f"{a.width}-{a.num_devices}")
@pytest.mark.parametrize("everyone", [False, True])
def test_a_pass_leaves_what_a_loop_leaves(axis, everyone):
    places = np.arange(C, dtype=np.int32) if everyone else PLACES
    present = np.arange(C) != 4 if everyone else PRESENT
    numbers = np.linspace(0.5, 2, len(places)).astype(np.float32)
    options = {"places": None if everyone else jnp.asarray(places), "axis": axis, "shared": (2.0,)}

    @jax.jit
    def run(store, numbers, ids, present):
        return visit_clients(visit, numbers, ids, store=store, present=present, **options)

    found = run(STORE, numbers, places, present)
    right = by_hand(numbers, places, present)
    for a, b in zip(found, right, strict=True):
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=2e-6, atol=1e-6), a, b)
    assert found.sums["counted"].dtype == jnp.int32


@pytest.mark.parametrize("width", [None, 1, 2])
def test_an_absent_clients_nan_reaches_neither_sums_nor_rows(width):
    numbers = np.where(PRESENT, 1, np.nan).astype(np.float32)
    found = visit_clients(
        visit,
        numbers,
        PLACES,
        store=STORE,
        places=jnp.asarray(PLACES),
        present=PRESENT,
        shared=(2.0,),
        axis=ClientAxis(width),
    )
    assert all(np.isfinite(x).all() for x in jax.tree.leaves((found.sums, found.store)))
    np.testing.assert_array_equal(found.store["own"][PLACES[3]], STORE["own"][PLACES[3]])


def test_a_store_is_renewed_in_place():
    def temporary(rows):
        store = {"own": jax.ShapeDtypeStruct((rows, 1000), jnp.float32), "turns": jax.ShapeDtypeStruct((rows,), int)}
        numbers = jax.ShapeDtypeStruct((rows,), jnp.float32)

        def run(store, numbers):
            return visit_clients(visit, numbers, jnp.arange(rows), store=store, shared=(2.0,), axis=ClientAxis(4))

        return jax.jit(run, donate_argnums=0).lower(store, numbers).compile().memory_analysis().temp_size_in_bytes

    assert temporary(2000) < temporary(200) + 100_000  # the store grew by 7.2 MB


def test_another_length_without_places_is_refused():
    with pytest.raises(ValueError, match="store: expected 7 rows, one for each client"):
        visit_clients(visit, np.ones(7, np.float32), PLACES, store=STORE, shared=(2.0,))


def test_settled_sums_are_means_in_their_own_dtype_and_the_fallback_where_nobody_was():
    sums = {"a": jnp.array([1.5, 2.5]), "n": jnp.array([2.9999998, 4.0])}
    fallback = {"a": jnp.zeros(2, jnp.bfloat16), "n": jnp.array([7, 8])}
    some = settle(sums, jnp.bool_(True), fallback)
    assert (some["a"].dtype, some["n"].tolist()) == (jnp.bfloat16, [3, 4])
    assert settle(sums, jnp.bool_(False), fallback)["n"].tolist() == [7, 8]
    assert settle(sums, jnp.array([True, False]), fallback)["n"].tolist() == [3, 8]
