"""Heart disease in four hospitals: the files inside the package, and damaged ones."""

from importlib import resources

import numpy as np
import pytest

from fedjax_layers.data import DATASETS, load_dataset


def test_heart_counts_are_those_of_the_four_hospitals():
    data = load_dataset("heart")
    assert data.client_names == ("cleveland", "hungarian", "switzerland", "va")
    assert np.bincount(data.clients).tolist() == [303, 261, 46, 130]
    assert data.inputs.shape == (740, 10)
    # Cleveland's published class distribution; no row of it is left out.
    assert np.bincount(data.labels[data.clients == 0]).tolist() == [164, 55, 36, 35, 13]
    np.testing.assert_allclose(data.inputs[0], [63, 1, 1, 145, 233, 1, 2, 150, 0, 2.3], rtol=1e-6)


def test_heart_ids_are_rows_of_the_files():
    data = load_dataset("heart")
    # The third Hungarian row (row 303 + 2) has no cholesterol and is left out.
    assert 305 not in data.example_ids
    assert {303, 304} <= set(data.example_ids.tolist())
    assert data.example_ids.max() < 303 + 294 + 123 + 200
    assert (np.diff(data.example_ids) > 0).all()


def test_heart_z_scores_seven_columns_and_leaves_three():
    data = load_dataset("heart")
    seen = data.preprocess(data.inputs).astype(np.float64)
    raw = [1, 5, 8]  # sex, fbs, exang
    np.testing.assert_array_equal(seen[:, raw], data.inputs[:, raw])
    scored = np.delete(seen, raw, axis=1)
    np.testing.assert_allclose(scored.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(scored.std(0), 1, rtol=1e-5)


def test_heart_ships_with_its_attribution():
    folder = resources.files("fedjax_layers.data") / "uci_heart"
    text = (folder / "ATTRIBUTION.md").read_text(encoding="utf-8")
    for words in ("Janosi", "Steinbrunn", "Pfisterer", "Detrano", "CC BY 4.0"):
        assert words in text


def test_heart_has_the_published_classes_in_all_rows(tmp_path):
    """The table "Class Distribution" of heart-disease.names; the files inside the package.

    The processed Hungarian file tells disease from none alone: 106 are the table's 37 + 26 + 28 + 15.
    """
    tables, provenance = DATASETS["heart"].tables(tmp_path)
    assert provenance == "checked files of heart"
    values, hospital = tables["train"]["values"], tables["train"]["hospital"]
    per_hospital = [np.bincount(values[hospital == h, 13].astype(int), minlength=5).tolist() for h in range(4)]
    assert per_hospital == [[164, 55, 36, 35, 13], [188, 106, 0, 0, 0], [8, 48, 32, 30, 5], [51, 56, 41, 42, 10]]


def test_heart_with_a_cell_missing_is_refused(tmp_path):
    names = [file.name for file in DATASETS["heart"].layouts[0].files]
    files = {name: tmp_path / name for name in names}
    for path in files.values():
        path.write_text("63,1,1,145,233,1,2,150,0,2.3,3,0,6,0\n")
    read = DATASETS["heart"].layouts[0].read
    assert read(files)["train"]["values"].shape == (4, 14)
    (tmp_path / "processed.va.data").write_text("63,1,1,145,233,1,2,150,0,2.3,3,0,6,0\n63,1,1\n")
    with pytest.raises(ValueError, match=r"^processed\.va\.data: expected 14 columns, found 3 in line 2$"):
        read(files)
