import os
from pathlib import Path

import numpy as np
import pytest

from fedjax_layers.data import DATA_DIR_VARIABLE, Dataset, Preprocess


@pytest.fixture
def data_folder():
    """The folder of real data; a test that asks for it is skipped where there is none."""
    folder = os.environ.get(DATA_DIR_VARIABLE)
    if not folder:
        pytest.skip(f"{DATA_DIR_VARIABLE} is not set")
    return Path(folder)


@pytest.fixture
def make_dataset():
    """A function that makes a small data set whose inputs hold the example's own id."""

    def make(n=40, classes=4, ids=None, clients=None, client_names=()):
        ids = np.arange(n) if ids is None else np.asarray(ids)
        return Dataset(
            name="toy",
            inputs=np.stack([ids, -ids], axis=1).astype(np.float32),
            labels=(np.arange(n) % classes).astype(np.int32),
            class_names=tuple(f"class {c}" for c in range(classes)),
            clients=clients,
            client_names=client_names,
            preprocess=Preprocess(),
            source="made up",
            licence="none",
            example_ids=ids,
        )

    return make
