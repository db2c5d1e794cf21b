"""With several devices a state is laid out once: spread over clients where it can be, and nothing compiles twice."""

import jax
import numpy as np
import optax
import pytest

from fedjax_layers import algorithms
from fedjax_layers.clients import LocalSolver
from fedjax_layers.data import load
from fedjax_layers.data.packing import settled
from fedjax_layers.engine.device_data import to_device
from fedjax_layers.engine.history.history import History
from fedjax_layers.engine.placement.sharding import replicate
from fedjax_layers.engine.placement.width import device_mesh
from fedjax_layers.engine.plan import Plan
from fedjax_layers.engine.run_loop import run_intervals, start_state
from fedjax_layers.engine.simulate import make_inputs
from fedjax_layers.ops import ClientAxis
from tests import toy
from tests.counting import count_compilations

pytestmark = pytest.mark.devices


@pytest.mark.parametrize(("devices", "spread"), [(5, True), (2, False)])  # five clients
def test_client_states_are_spread_and_later_intervals_compile_nothing(devices, spread):
    task, pool = toy.make_task(jax.numpy.float32), toy.make_pool(dtype="float32")
    axis = ClientAxis(1, device_mesh(devices))

    def build(hyper):
        return algorithms.fedper(LocalSolver(optax.sgd(hyper), toy.BATCH))

    plan = Plan(task, 1, axis)
    inputs = make_inputs(toy.make_federation(pool), hyper=0.1, seed=0, sampling=None, weights=None, axis=axis)
    state = start_state(build, plan, inputs)
    intervals = run_intervals(build, plan, inputs, state, History(), 3)
    _, state, _ = next(intervals)
    with count_compilations() as clock:
        for _, state, _ in intervals:  # noqa: B007
            pass
    assert clock.compilations == 0
    leaf = state.clients[-1]["w"]  # of the layers that stay with the client
    assert len(leaf.sharding.device_set) == devices
    assert leaf.sharding.is_fully_replicated is not spread
    assert state.server[0]["w"].sharding.is_fully_replicated


@pytest.mark.parametrize("devices", [1, 8])
def test_all_cpu_devices_look_at_the_one_copy_of_the_data(devices):
    clients = load("synthetic", clients=30, min_samples=20, max_samples=20)
    axis = ClientAxis(None, device_mesh(devices))
    inputs = make_inputs(to_device(clients), hyper=0.1, seed=0, sampling=None, weights=None, axis=axis)
    pool = inputs.device_data.pool
    assert len(pool.inputs.sharding.device_set) == devices
    pointers = {shard.data.unsafe_buffer_pointer() for shard in pool.inputs.addressable_shards}
    assert pointers == {clients.inputs.ctypes.data}
    assert pool.inputs.sharding.is_fully_replicated
    np.testing.assert_array_equal(pool.inputs, clients.inputs)


def test_memory_that_devices_share_is_never_written(x64):
    del x64  # float64, as the host has it
    host = settled(np.arange(2.0**14))
    axis = ClientAxis(None, device_mesh(8))
    shared = replicate(jax.device_put(host, may_alias=True), axis)
    assert {part.data.unsafe_buffer_pointer() for part in shared.addressable_shards} == {host.ctypes.data}
    renew = jax.jit(lambda x: x + 1, donate_argnums=0, out_shardings=shared.sharding)
    after = renew(renew(shared))
    for part in after.addressable_shards:
        np.testing.assert_array_equal(part.data, np.arange(2.0**14) + 2)
    np.testing.assert_array_equal(host, np.arange(2.0**14))
