"""A run is continued with the data and the settings that it was begun with, or not at all."""

import json

import numpy as np
import pytest

from fedjax_layers.experiment.config.run_config import RunConfig
from fedjax_layers.experiment.records.run_directory import RunDirectory
from fedjax_layers.experiment.run import execute
from fedjax_layers.experiment.setup.prepare import prepare
from fedjax_layers.storage import StorageError


def arrays(seed=0):
    rng = np.random.default_rng(seed)
    client = np.repeat(np.arange(3), 20)
    return {"x": rng.normal(size=(60, 4)).astype(np.float32), "y": rng.integers(0, 2, 60), "client": client}


@pytest.fixture
def start(tmp_path):
    """Write the arrays, and begin or continue the run of them."""

    def start(rounds, resume=True, **changes):
        np.savez(tmp_path / "own.npz", **arrays() | changes)
        where = {"path": str(tmp_path / "own.npz")}
        config = RunConfig(
            "local", dataset="npz", data_options=where, model="logistic_regression", rounds=rounds, client_width="all"
        )
        directory = RunDirectory.create(tmp_path / "run", config, resume=resume, free=("rounds",))
        return execute(prepare(config), directory, resume=resume)

    start(1, resume=False)
    return start


def other(name, row=7):
    changed = arrays()[name].copy()
    changed[row] = 1 - changed[row] if name == "y" else changed[row] + 1
    return {name: changed}


@pytest.mark.parametrize(
    ("changes", "named"), [(other("x"), "content of the data"), (other("y"), "content of the data")]
)
def test_changed_data_are_refused_and_the_same_go_on(start, tmp_path, changes, named):
    before = (tmp_path / "run" / "rounds.jsonl").read_bytes()
    with pytest.raises(
        StorageError, match=f"cannot resume, the .*{named} differs|cannot resume, the partition differs"
    ):
        start(2, **changes)
    assert (tmp_path / "run" / "rounds.jsonl").read_bytes() == before
    start(2)
    assert len(RunDirectory(tmp_path / "run").read_rounds()) == 2


def change_manifest(folder, part, name, value):
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest[part][name] = value
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_other_settings_of_jax_are_refused(start, tmp_path):
    change_manifest(tmp_path / "run", "jax_settings", "threefry_partitionable", "neither")
    with pytest.raises(
        StorageError, match="JAX's setting threefry_partitionable differs: the run has neither, now it is"
    ):
        start(2)


def test_other_releases_and_devices_are_a_warning(start, tmp_path):
    change_manifest(tmp_path / "run", "versions", "jax", "0.0.1")
    change_manifest(tmp_path / "run", "devices", "count", 77)
    with pytest.warns(UserWarning, match=r"computed with jax 0\.0\.1 \(now .*devices, count 77 \(now 8\)"):
        start(2)
