"""Renewing clients' rows in place gives what gathering, mapping and scattering give."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_layers.clients.store import renew_clients
from fedjax_layers.ops import ClientAxis
from tests import toy


def step(row, number, factor):
    return {"a": row["a"] * factor + number, "count": row["count"] + 1}


STORE = {"a": jnp.arange(10.0).reshape(5, 2), "count": jnp.zeros(5, jnp.int32)}


def renewed(ids, numbers, axis, *, in_order=False, pad_to=None):
    cohort = dataclasses.replace(toy.make_cohort(ids, toy.make_pool(), pad_to=pad_to), in_order=in_order)
    padded = jnp.full(cohort.ids.shape, jnp.nan).at[: len(ids)].set(jnp.asarray(numbers))
    return jax.jit(lambda store: renew_clients(step, store, cohort, padded, shared=(3.0,), axis=axis))(STORE)


@pytest.mark.parametrize("width", [1, 2, 3, None])
@pytest.mark.parametrize("ids", [[4, 0], [1], [2, 1, 3], [], [0, 1, 2, 3, 4]])
def test_rows_of_present_clients_alone(ids, width):
    """Padding slots have the id 1 and NaN beside it, whether client 1 is there or not."""
    numbers = [10.0 * (i + 1) for i in range(len(ids))]
    found = renewed(ids, numbers, ClientAxis(width), pad_to=6)
    expected, count = np.array(STORE["a"]), np.zeros(5, int)
    for i, number in zip(ids, numbers, strict=True):
        expected[i] = expected[i] * 3 + number
        count[i] = 1
    np.testing.assert_allclose(found["a"], expected)
    np.testing.assert_array_equal(found["count"], count)


@pytest.mark.parametrize("width", [1, 2, None])
def test_everybody_in_parts(width):
    """Client 3 is padding."""
    cohort = dataclasses.replace(toy.make_cohort(range(5), toy.make_pool(), weights=[1, 1, 1, 0, 1]), in_order=True)
    numbers = jnp.asarray([1.0, 2.0, 3.0, jnp.nan, 5.0])
    found = jax.jit(lambda s: renew_clients(step, s, cohort, numbers, shared=(3.0,), axis=ClientAxis(width)))(STORE)
    expected = np.array(STORE["a"]) * 3 + np.array([1.0, 2, 3, 0, 5])[:, None]
    expected[3] = STORE["a"][3]
    np.testing.assert_allclose(found["a"], expected)
    np.testing.assert_array_equal(found["count"], [1, 1, 1, 0, 1])


def test_everybody_and_several_devices():
    mesh = jax.make_mesh((8,), ("clients",), axis_types=(jax.sharding.AxisType.Auto,))
    numbers = [1.0, 2.0, 3.0, 4.0, 5.0]
    one = renewed(range(5), numbers, ClientAxis(2), in_order=True)
    many = renewed(range(5), numbers, ClientAxis(1, mesh), in_order=True)
    jax.tree.map(np.testing.assert_array_equal, one, many)
