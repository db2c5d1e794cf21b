"""The digits that scikit-learn carries."""

import numpy as np

from fedjax_layers.data import load_dataset


def test_digits_are_the_real_ones():
    data = load_dataset("digits")
    assert data.inputs.shape == (1797, 8, 8, 1)
    assert data.inputs.dtype == np.uint8
    assert (data.inputs.min(), data.inputs.max()) == (0, 16)
    assert np.bincount(data.labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    seen = data.preprocess(data.inputs)
    assert abs(seen.mean()) < 1e-3
    assert abs(seen.std() - 1) < 1e-3


def test_digits_are_the_first_of_scikit_learn():
    data = load_dataset("digits")
    # The first image of sklearn.datasets.load_digits, as its documentation prints it: a zero.
    assert data.labels[0] == 0
    assert data.inputs[0, :3, :, 0].tolist() == [
        [0, 0, 5, 13, 9, 1, 0, 0],
        [0, 0, 13, 15, 10, 15, 5, 0],
        [0, 3, 15, 2, 0, 11, 8, 0],
    ]
    assert data.clients is None
