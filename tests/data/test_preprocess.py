"""Standardising by training examples, and NaN that becomes the mean."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

from fedjax_layers.data import preprocess
from fedjax_layers.data.preprocess import Preprocess, standardise

NAN = np.nan


@pytest.fixture
def table():
    """Columns of very different size, a tenth of the entries missing."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(501, 4)) * [1.0, 1e-3, 1e6, 3.0] + [0.0, 5.0, -1e7, 2.0]
    values[rng.random(values.shape) < 0.1] = NAN
    return values


@pytest.mark.parametrize("chunk", [1, 28, 4 * 250, 10**6])
def test_mean_and_std_equal_scikit_learns_whatever_the_pieces(table, chunk, monkeypatch):
    monkeypatch.setattr(preprocess, "_CHUNK", chunk)
    found = standardise(table)
    expected = StandardScaler().fit(table)  # it leaves NaN out as well
    np.testing.assert_allclose(found.mean, expected.mean_, rtol=1e-13)
    np.testing.assert_allclose(found.std, expected.scale_, rtol=1e-11)
    assert found.missing == 0.0


def test_what_is_missing_becomes_the_mean(table):
    seen = standardise(table)(table, "float64")
    known = ~np.isnan(table)
    assert (seen[~known] == 0).all()
    np.testing.assert_allclose(seen.mean(0, where=known), 0, atol=1e-8)
    np.testing.assert_allclose(seen.std(0, where=known), 1, rtol=1e-8)


def test_a_constant_or_empty_column_becomes_zero():
    inputs = np.full((700, 3), 0.1)  # three times 0.1 is not 0.3: a mean of sums would leave a spread of 1e-17
    inputs[:, 1] = NAN
    inputs[:, 2] = np.arange(700)
    found = standardise(inputs)
    assert found.mean == (0.1, 0.0, 349.5)
    assert found.std[:2] == (1.0, 1.0)
    assert (found(inputs)[:, :2] == 0).all()


def test_all_axes_but_the_last_are_examples_and_integers_have_nothing_missing():
    images = np.random.default_rng(1).integers(0, 256, (20, 5, 6, 3)).astype(np.uint8)
    found = standardise(images)
    np.testing.assert_allclose(found.mean, images.reshape(-1, 3).mean(0), rtol=1e-13)
    np.testing.assert_allclose(found.std, images.reshape(-1, 3).std(0), rtol=1e-13)
    assert found.missing is None


def test_it_reads_a_memory_mapped_file_without_touching_it(tmp_path, table):
    np.save(tmp_path / "table.npy", table)
    mapped = np.load(tmp_path / "table.npy", mmap_mode="r")
    assert standardise(mapped) == standardise(table)
    assert len({standardise(mapped), standardise(table)}) == 1


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (np.zeros(3), r"inputs: expected \[n, ..., D\] with n of at least 1, got shape \(3,\)"),
        (np.zeros((0, 3)), r"got shape \(0, 3\)"),
        (np.array([["a"]]), "inputs: expected numbers, got <U1"),
        (np.array([[True]]), "inputs: expected numbers, got bool"),
        (
            np.array([[1.0, 2.0], [NAN, -np.inf]]),
            "inputs: expected finite numbers or NaN, got an infinite one in column 1",
        ),
    ],
)
def test_what_cannot_be_standardised_is_refused_in_one_line(inputs, message):
    with pytest.raises(ValueError, match=message) as caught:
        standardise(inputs)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("missing", [0.0, -2.5])
def test_missing_is_filled_alike_on_host_and_device(missing):
    raw = np.array([[1.0, NAN], [NAN, 4.0]], np.float32)
    pre = Preprocess(mean=(1.0, 2.0), std=(1.0, 4.0), missing=missing)
    expected = np.array([[0.0, missing], [missing, 0.5]], np.float32)
    np.testing.assert_array_equal(pre(raw), expected)
    assert pre(raw).dtype == np.float32
    on_device = jax.jit(pre)(jnp.asarray(raw))
    assert on_device.dtype == jnp.float32
    np.testing.assert_array_equal(on_device, expected)


def test_without_the_switch_nan_stays_and_the_program_is_one_multiplication_and_one_subtraction():
    assert np.isnan(Preprocess()(np.array([[NAN]]))).all()
    raw = jax.ShapeDtypeStruct((4, 3), jnp.float32)
    off = jax.make_jaxpr(Preprocess(mean=1.0, std=2.0))(raw)
    assert [e.primitive.name for e in off.eqns if e.primitive.name != "convert_element_type"] == ["mul", "sub"]
    assert "select_n" in str(jax.make_jaxpr(Preprocess(mean=1.0, std=2.0, missing=0.0))(raw))
    pixels = jax.ShapeDtypeStruct((4, 3), jnp.uint8)
    assert "select_n" not in str(jax.make_jaxpr(Preprocess(missing=0.0))(pixels))


def test_missing_is_part_of_the_value_and_finite():
    assert len({Preprocess(), Preprocess(missing=0.0), Preprocess(missing=0.0)}) == 2
    with pytest.raises(ValueError, match="missing: expected finite numbers, got nan"):
        Preprocess(missing=NAN)
