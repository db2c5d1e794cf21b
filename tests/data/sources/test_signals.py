"""UCI HAR, spoken digits and Office-Caltech: known facts of the real files; small files of the same form."""

import hashlib
import io
import wave
import zipfile

import numpy as np
import pytest
from scipy.io import savemat

from fedjax_layers.data import DATASETS, load_dataset
from fedjax_layers.data.sources.office_caltech import SITES

# ---------------------------------------------------------------- UCI HAR

HAR_TEST_SUBJECTS = [2, 4, 9, 10, 12, 13, 18, 20, 24]
HAR_SIGNALS = [f"{sensor}_{axis}" for sensor in ("total_acc", "body_gyro") for axis in "xyz"]


@pytest.mark.data
def test_har(data_folder):
    data = load_dataset("uci_har", data_folder)
    assert data.inputs.shape == (10_299, 128, 6)
    assert data.inputs.dtype == np.float32
    digest = hashlib.sha256(np.ascontiguousarray(data.inputs).tobytes()).hexdigest()
    assert digest == "ad4fa084f22ac0659f4f5b2c3c5833213518d985d6f430aa56e56f4fd01ab16f"
    assert data.official_test.tolist() == [False] * 7_352 + [True] * 2_947
    # The published numbers of windows of each activity.
    assert np.bincount(data.labels[:7_352]).tolist() == [1226, 1073, 986, 1286, 1374, 1407]
    assert np.bincount(data.labels[7_352:]).tolist() == [496, 471, 420, 491, 532, 537]
    assert data.class_names[data.labels[0]] == "standing"
    assert data.client_names == tuple(f"subject {i}" for i in range(1, 31))
    assert (np.unique(data.clients[data.official_test]) + 1).tolist() == HAR_TEST_SUBJECTS
    # Someone who lies or stands still feels the earth's pull of 1 g.
    still = data.inputs[np.isin(data.labels, [3, 4, 5]), :, :3].astype(np.float64)
    assert np.median(np.linalg.norm(still, axis=-1)) == pytest.approx(1, abs=0.03)


@pytest.mark.data
def test_har_parts_have_their_own_subjects(data_folder):
    data = load_dataset("uci_har", data_folder, split="test")
    assert data.client_names == tuple(f"subject {i}" for i in HAR_TEST_SUBJECTS)
    assert np.bincount(data.clients).tolist() == [302, 317, 288, 294, 320, 327, 364, 354, 381]
    np.testing.assert_array_equal(data.example_ids, np.arange(7_352, 10_299))
    assert data.official_test is None


def har_members(signals, activity, subject):
    """Text files of the official archive, by name within ``UCI HAR Dataset/``."""
    members = {}
    for split in ("train", "test"):
        for i, name in enumerate(HAR_SIGNALS):
            lines = [" ".join(f"{v: .7e}" for v in window) for window in signals[split][..., i]]
            members[f"{split}/Inertial Signals/{name}_{split}.txt"] = "\n".join(lines)
        members[f"{split}/y_{split}.txt"] = "\n".join(map(str, activity[split]))
        members[f"{split}/subject_{split}.txt"] = "\n".join(map(str, subject[split]))
    return members


def read_har(tmp_path, members):
    path = tmp_path / "UCI HAR Dataset.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("__MACOSX/._UCI HAR Dataset", b"")
        for name, content in members.items():
            archive.writestr(f"UCI HAR Dataset/{name}", content)
    return DATASETS["uci_har"].layouts[1].read({path.name: path})


@pytest.fixture
def small_har():
    """Contents for a small archive of the official form: 4 training and 2 test windows."""
    rng = np.random.default_rng(0)
    sizes = {"train": 4, "test": 2}
    signals = {s: rng.integers(-99, 99, (n, 128, 6)).astype(np.float32) / 64 for s, n in sizes.items()}
    return signals, {"train": [1, 2, 5, 6], "test": [3, 4]}, {"train": [1, 1, 30, 30], "test": [2, 2]}


def test_har_official_archive(tmp_path, small_har):
    tables = read_har(tmp_path, har_members(*small_har))
    for split in ("train", "test"):
        np.testing.assert_array_equal(tables[split]["signals"], small_har[0][split])
        assert tables[split]["signals"].dtype == np.float32
    assert tables["train"]["activity"].tolist() == [0, 1, 4, 5]
    assert tables["train"]["subject"].tolist() == [0, 0, 29, 29]
    assert tables["test"]["subject"].tolist() == [1, 1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"test/y_test.txt": None}, r"expected a member UCI HAR Dataset/test/y_test\.txt, found none"),
        ({"test/y_test.txt": "1 2\n3 4"}, r"y_test\.txt: expected lines of 1 numbers, found 2"),
        ({"test/y_test.txt": "one"}, r"y_test\.txt: expected lines of 1 numbers, found others"),
        ({"../up.txt": ""}, "expected members inside the archive, found 'UCI HAR Dataset/../up.txt'"),
    ],
)
def test_har_archive_of_another_form_is_refused(tmp_path, small_har, change, message):
    members = {**har_members(*small_har), **change}
    with pytest.raises(ValueError, match=rf"UCI HAR Dataset\.zip.*{message}"):
        read_har(tmp_path, {name: content for name, content in members.items() if content is not None})


# ---------------------------------------------------------------- spoken digits


@pytest.mark.data
def test_fsdd(data_folder):
    data = load_dataset("fsdd", data_folder)
    assert data.inputs.shape == (600, 98, 40)
    assert data.inputs.dtype == np.float32
    assert np.isfinite(data.inputs).all()
    assert data.client_names == ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")
    # 5 recordings of each digit by each speaker in either part.
    for part in (data.official_test, ~data.official_test):
        cells = np.bincount(data.labels[part] * 6 + data.clients[part])
        assert cells.tolist() == [5] * 60
    assert data.preprocess == "standardise"


@pytest.mark.data
def test_fsdd_waveforms_are_those_of_the_files(data_folder):
    data = load_dataset("fsdd", data_folder, features="waveform", split="test", samples=5_000)
    assert data.inputs.shape == (300, 5_000, 1)
    assert data.inputs.dtype == np.int16
    wanted = (data.labels == 7) & (data.clients == 4)  # "7", theo: recordings 0 to 4, in this order
    with zipfile.ZipFile(data_folder / "fsdd" / "fsdd_recordings_0-9.zip") as archive:
        sounds = [archive.read(f"recordings/7_theo_{i}.wav")[44:] for i in range(5)]
    for found, content in zip(data.inputs[wanted, :, 0], sounds, strict=True):
        samples = np.frombuffer(content, "<i2")[:5_000]
        np.testing.assert_array_equal(found[: len(samples)], samples)
        assert not found[len(samples) :].any()
    assert np.abs(data.preprocess(data.inputs)).max() <= 1


def wav(samples, rate=8000, channels=1):
    stream = io.BytesIO()
    with wave.open(stream, "wb") as sound:
        sound.setparams((channels, 2, rate, 0, "NONE", ""))
        sound.writeframes(np.asarray(samples, "<i2").tobytes())
    return stream.getvalue()


def read_fsdd_folder(tmp_path, contents):
    files = {}
    for name, content in contents.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        files[name] = path
    return DATASETS["fsdd"].layouts[0].read(files)


def test_fsdd_repository_folder(tmp_path):
    """A small folder of the repository's form; recording 10 comes after 9, and 0 to 4 are for testing."""
    names = ["9_theo_10", "9_theo_9", "9_theo_4", "0_lucas_5", "0_george_49"]
    contents = {f"recordings/{name}.wav": wav(np.arange(i, 300 + i)) for i, name in enumerate(names)}
    tables = read_fsdd_folder(tmp_path, contents)
    assert [len(table["digit"]) for table in (tables["train"], tables["test"])] == [4, 1]
    assert tables["train"]["digit"].tolist() == [0, 0, 9, 9]
    assert tables["train"]["speaker"].tolist() == [0, 2, 4, 4]
    assert tables["train"]["index"].tolist() == [49, 5, 9, 10]
    assert [int(sound[0]) for sound in tables["train"]["waveform"]] == [4, 3, 1, 0]
    np.testing.assert_array_equal(tables["test"]["waveform"][0], np.arange(2, 302))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("1_theo_0.wav", wav([0] * 9, rate=16_000), "expected 1 channel of 16 bits at 8000 Hz, found 1 of 16 at 16000"),
        ("1_theo_0.wav", wav([0] * 8, channels=2), "expected 1 channel of 16 bits at 8000 Hz, found 2 of 16 at 8000"),
        ("1_theo_0.wav", b"RIFF, or so", "expected a wav file, found another or a broken one"),
        ("1_theo_0.wav", wav([0] * 900)[:-100], r"expected 900 samples, found 850 \(truncated\)"),
        ("1_anna_0.wav", wav([0]), "expected recordings/<digit>_<speaker>_<index>.wav of george"),
    ],
)
def test_fsdd_recordings_of_another_kind_are_refused(tmp_path, name, content, message):
    with pytest.raises(ValueError, match=rf"{name}: {message}"):
        read_fsdd_folder(tmp_path, {f"recordings/{name}": content})


@pytest.mark.data
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"features": "mfcc"}, "features: expected one of logmel, waveform, got 'mfcc'"),
        ({"samples": 199}, "samples: expected at least 200, got 199"),
        ({"bands": 0}, "bands: expected at least 1, got 0"),
        ({"bands": 200}, "bands: expected fewer for a spectrum of 256 points, got 200"),
    ],
)
def test_fsdd_errors(data_folder, options, message):
    with pytest.raises(ValueError, match=message):
        load_dataset("fsdd", data_folder, **options)


# ---------------------------------------------------------------- Office-Caltech


@pytest.mark.data
def test_office_caltech(data_folder):
    data = load_dataset("office_caltech", data_folder, normalise="counts")
    assert data.inputs.shape == (2_533, 800)
    assert data.inputs.dtype == np.uint8
    assert data.client_names == ("amazon", "caltech10", "dslr", "webcam")
    assert np.bincount(data.clients).tolist() == [958, 1123, 157, 295]
    # The published numbers of Office-31's pictures from amazon.com in these ten classes.
    assert np.bincount(data.labels[:958]).tolist() == [92, 82, 94, 99, 100, 100, 99, 100, 94, 98]
    assert data.inputs[0].sum() == 106


@pytest.mark.data
def test_office_caltech_normalised(data_folder):
    counts = load_dataset("office_caltech", data_folder, normalise="counts").inputs
    shares = load_dataset("office_caltech", data_folder)
    assert shares.inputs.dtype == np.float32
    np.testing.assert_allclose(shares.inputs.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(shares.inputs[5] * counts[5].sum(), counts[5], rtol=1e-5)
    assert shares.preprocess == "standardise"
    site = load_dataset("office_caltech", data_folder, normalise="site")
    assert site.preprocess is None
    for s in range(4):
        rows = site.inputs[site.clients == s].astype(np.float64)
        used = counts[site.clients == s].any(axis=0)
        np.testing.assert_allclose(rows.mean(axis=0), 0, atol=1e-5)
        np.testing.assert_allclose(rows[:, used].std(axis=0), 1, rtol=1e-5)
        assert not rows[:, ~used].any()
    with pytest.raises(ValueError, match="normalise: expected one of counts, shares, site, got 'sites'"):
        load_dataset("office_caltech", data_folder, normalise="sites")


def read_office(tmp_path, change=()):
    """Files of the authors' names with made-up counts; ``change`` replaces arrays of the third."""
    files = {}
    for i, (site, size) in enumerate(zip(("amazon", "Caltech10", "dslr", "webcam"), SITES.values(), strict=True)):
        path = tmp_path / f"{site}_SURF_L10.mat"
        arrays = {"fts": np.full((size, 800), i, float), "labels": np.arange(size)[:, None] % 10 + 1}
        savemat(path, {**arrays, **dict(change)} if site == "dslr" else arrays)
        files[path.name] = path
    return DATASETS["office_caltech"].layouts[1].read(files), files


def test_office_caltech_under_the_authors_names(tmp_path):
    tables, files = read_office(tmp_path)
    assert list(files) == [file.name for file in DATASETS["office_caltech"].layouts[1].files]
    np.testing.assert_array_equal(tables["train"]["counts"][:, 7], tables["train"]["site"])
    assert np.bincount(tables["train"]["site"]).tolist() == [958, 1123, 157, 295]
    assert tables["train"]["label"][:12].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fts": np.zeros((158, 800))}, r"expected fts of shape \(157, 800\) and 157 labels, found shape \(158, 800\)"),
        ({"labels": np.ones(156)}, r"expected fts .* and 157 labels, found .* and 156 labels"),
        ({"fts": np.full((157, 800), 0.5)}, r"expected counts 0\.\.255, found 0\.5 in row 0, column 0"),
    ],
)
def test_office_caltech_files_of_another_form_are_refused(tmp_path, change, message):
    with pytest.raises(ValueError, match=rf"dslr_SURF_L10\.mat: {message}"):
        read_office(tmp_path, change)


@pytest.mark.parametrize("kept", [0, 100, 1_000])
def test_office_caltech_file_that_is_cut_off_is_refused(tmp_path, kept):
    _, files = read_office(tmp_path)
    path = files["dslr_SURF_L10.mat"]
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ValueError, match=r"dslr_SURF_L10\.mat: expected a MATLAB 5 file with fts and labels"):
        DATASETS["office_caltech"].layouts[1].read(files)
