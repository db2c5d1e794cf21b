"""The client axis: any width and any number of devices give the same results, and stay on their devices."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from fedjax_layers.ops import ClientAxis, Visit, map_clients, visit_clients


def mesh(shape=(8,), names=("clients",)):
    return jax.make_mesh(shape, names, axis_types=(AxisType.Auto,) * len(names))


def one(row, key, table):
    """A client of uneven work: as many draws as its count says, plus a look-up that all share."""
    x, count = row

    def step(i, total):
        return total + jax.random.normal(jax.random.fold_in(key, i), x.shape)

    return {"sum": jax.lax.fori_loop(0, count, step, x), "table": table[count % 3] * x[0], "count": count}


def arguments(num):
    x = jnp.arange(num * 2, dtype=jnp.float32).reshape(num, 2) / 7
    keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(3), jnp.arange(num))
    return ((x, jnp.arange(num, dtype=jnp.int32) % 5), keys), jnp.asarray([1.0, -2.0, 0.5])


def run(axis, num):
    rows, table = arguments(num)
    return jax.jit(lambda r, t: map_clients(one, *r, shared=(t,), axis=axis))(rows, table)


def by_hand(num):
    ((x, count), keys), table = arguments(num)
    return [one((x[k], count[k]), keys[k], table) for k in range(num)]


@pytest.mark.parametrize("num", [1, 3, 8, 13])
def test_every_width_and_eight_devices_equal_a_loop(num):
    expected = jax.tree.map(lambda *rows: np.stack(rows), *by_hand(num))
    axes = [ClientAxis(width) for width in (1, 2, 3, num, num + 5, None)]
    axes += [ClientAxis(width, mesh()) for width in (1, 2, None)]
    for axis in axes:
        found = run(axis, num)
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6, atol=1e-6), found, expected)


def test_the_function_is_traced_once_for_all_chunks():
    traces = []

    def counted(x):
        traces.append(x.shape)
        return x * 2

    for axis in (ClientAxis(3), ClientAxis(3, mesh())):
        traces.clear()
        np.testing.assert_array_equal(map_clients(counted, jnp.arange(13.0), axis=axis), 2 * np.arange(13.0))
        assert traces == [()]


def test_width_bounds_what_is_alive_at_once():
    """A client needs 1 MB of scratch: four at a time take a quarter of sixteen."""

    def wide(x):
        return jnp.sin(jnp.outer(x, x)).sort(axis=0).sum()

    rows = jnp.ones((16, 512))

    def scratch(width):
        lowered = jax.jit(lambda r: map_clients(wide, r, axis=ClientAxis(width))).lower(rows)
        return lowered.compile().memory_analysis().temp_size_in_bytes

    assert scratch(4) < 0.35 * scratch(None)


@pytest.mark.parametrize("width", [1, 4])
def test_a_store_is_renewed_where_it_is(width):
    """A visit that looks at its row beside the new one must not make the loop copy the rows of all for every client."""
    store, data = {"w": jnp.ones((64, 48, 50)), "b": jnp.ones((64, 50))}, jnp.ones((64, 48))

    def visit(own, x):
        new = jax.tree.map(lambda a: a * 1.5 + x[0], own)
        return Visit(out=(x @ new["w"] + new["b"]).sum() + (x @ own["w"] + own["b"]).sum(), row=new)

    def renew(store, rows):
        found = visit_clients(visit, rows, store=store, axis=ClientAxis(width))
        return found.store, found.out

    program = jax.jit(renew, donate_argnums=0).lower(store, data).compile()
    assert program.memory_analysis().temp_size_in_bytes < 0.3 * store["w"].nbytes
    assert not re.search(r"f32\[64,\d+.*\]\S* copy\(", program.as_text())
    renewed, out = program(store, data)
    np.testing.assert_array_equal(renewed["w"], np.full((64, 48, 50), 2.5))
    np.testing.assert_allclose(out, np.full(64, 50 * (48 * 3.5 + 3.5)), rtol=1e-6)


@pytest.mark.parametrize("width", [None, 1])
def test_results_stay_sharded_over_the_mesh(width):
    axis = ClientAxis(width, mesh())
    mapped = jax.jit(lambda x: map_clients(lambda r: {"y": jnp.tanh(r), "z": r.sum()}, x, axis=axis))
    rows = jax.device_put(jnp.ones((16, 3)), NamedSharding(axis.mesh, P("clients")))
    for leaf in jax.tree.leaves(mapped(rows)):
        assert leaf.sharding.is_equivalent_to(NamedSharding(axis.mesh, P("clients")), leaf.ndim)
        assert len({shard.device for shard in leaf.addressable_shards}) == 8
        assert {shard.data.shape[0] for shard in leaf.addressable_shards} == {2}
    program = mapped.lower(rows).compile().as_text()
    assert not any(word in program for word in ("all-gather", "all-reduce", "all-to-all", "collective-permute"))


def test_a_mesh_with_another_axis_uses_only_the_clients_axis():
    axis = ClientAxis(None, mesh((2, 4), ("model", "people")), name="people")
    assert axis.num_devices == 4
    np.testing.assert_allclose(map_clients(jnp.tanh, jnp.arange(6.0), axis=axis), np.tanh(np.arange(6.0)), rtol=1e-6)


def test_derivatives_pass_through_chunks_and_devices():
    x = jnp.linspace(-1, 1, 13)
    for axis in (ClientAxis(1), ClientAxis(3), ClientAxis(None, mesh())):
        by_row, by_common = jax.grad(
            lambda x, c, axis=axis: map_clients(lambda r, c: c * r**2, x, shared=(c,), axis=axis).sum(), (0, 1)
        )(x, jnp.float32(3))
        np.testing.assert_allclose(by_row, 6 * x, rtol=1e-6)
        np.testing.assert_allclose(by_common, (x**2).sum(), rtol=1e-6)


def test_rows_of_unequal_length_or_without_an_axis_are_refused():
    with pytest.raises(ValueError, match=r"rows: expected leaves of one common length along axis 0, got \['3', '4'\]"):
        map_clients(lambda x, y: x, jnp.ones(3), jnp.ones(4))
    with pytest.raises(ValueError, match="rows: expected leaves of one common length"):
        map_clients(lambda x, y: x, jnp.ones(3), jnp.float32(1))
    with pytest.raises(ValueError, match="rows: expected leaves of one common length"):
        map_clients(lambda x, y: x, jnp.ones(3), 1.0)
    with pytest.raises(ValueError, match="rows: expected leaves of one common length"):
        map_clients(lambda x: x, ())


def test_the_axis_is_checked():
    for width in (0, -2):
        with pytest.raises(ValueError, match=f"width: expected None or an integer of at least 1, got {width}"):
            ClientAxis(width)
    with pytest.raises(ValueError, match=r"name: expected one of the mesh axes \('devices',\), got 'clients'"):
        ClientAxis(None, mesh(names=("devices",)))
    with pytest.raises(ValueError, match="mesh: expected axis 'clients' of type Auto"):
        ClientAxis(None, jax.make_mesh((8,), ("clients",), axis_types=(AxisType.Explicit,)))
    assert ClientAxis().num_devices == 1
    assert ClientAxis(None, mesh()).num_devices == 8
