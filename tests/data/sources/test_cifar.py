"""CIFAR-10 and CIFAR-100: the official archives (small ones of the same form), the subset, TFDS's stock sets."""

import hashlib
import io
import tarfile

import numpy as np
import pytest

from fedjax_layers.data import DATASETS, load_dataset
from fedjax_layers.data.sources.cifar100 import GROUPS

MEMBERS = {
    "cifar10": {
        "train": [f"cifar-10-batches-bin/data_batch_{i}.bin" for i in range(1, 6)],
        "test": ["cifar-10-batches-bin/test_batch.bin"],
    },
    "cifar100": {"train": ["cifar-100-binary/train.bin"], "test": ["cifar-100-binary/test.bin"]},
}
ARCHIVE = {"cifar10": "cifar-10-binary.tar.gz", "cifar100": "cifar-100-binary.tar.gz"}


def records(seed, n, num_labels):
    """Records of the official form: label bytes, then a red, a green and a blue plane."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 10, (n, num_labels), np.uint8)
    images = rng.integers(0, 256, (n, 32, 32, 3), np.uint8)
    planes = [images[..., c].reshape(n, -1) for c in range(3)]
    return labels, images, np.concatenate([labels, *planes], axis=1).tobytes()


def write_archive(path, contents):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in contents.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


@pytest.fixture(params=["cifar10", "cifar100"])
def small_archive(request, tmp_path):
    """An archive of the official form with 3 records in each of its files: set, path, what is in it by member."""
    name = request.param
    members = [member for names in MEMBERS[name].values() for member in names]
    made = {member: records(i, 3, 1 if name == "cifar10" else 2) for i, member in enumerate(members)}
    path = tmp_path / ARCHIVE[name]
    # Out of order and with company: neither may matter.
    contents = {"readme.html": b"<p>", **{member: made[member][2] for member in reversed(members)}}
    write_archive(path, contents)
    return name, path, made


def read(name, path):
    return DATASETS[name].layouts[0].read({ARCHIVE[name]: path})


def test_official_archive_is_read_in_order(small_archive):
    name, path, made = small_archive
    tables = read(name, path)
    assert list(tables) == ["train", "test"]
    label_columns = {"cifar10": ["label"], "cifar100": ["coarse", "fine"]}[name]
    for split, members in MEMBERS[name].items():
        np.testing.assert_array_equal(tables[split]["image"], np.concatenate([made[m][1] for m in members]))
        for i, column in enumerate(label_columns):
            expected = np.concatenate([made[m][0][:, i] for m in members])
            np.testing.assert_array_equal(tables[split][column], expected)
            assert tables[split][column].dtype == np.int64


def test_official_archive_without_a_file_is_refused(small_archive):
    name, path, made = small_archive
    gone = MEMBERS[name]["test"][0]
    write_archive(path, {member: parts[2] for member, parts in made.items() if member != gone})
    with pytest.raises(ValueError, match=rf"{ARCHIVE[name]}: expected a member {gone}, found none"):
        read(name, path)


def test_official_archive_that_ends_within_a_record_is_refused(small_archive):
    name, path, made = small_archive
    short = MEMBERS[name]["train"][0]
    write_archive(path, {m: parts[2][:-1] if m == short else parts[2] for m, parts in made.items()})
    with pytest.raises(ValueError, match=rf"{short}: expected records of 307[34] bytes, found \d+ bytes \(truncated\)"):
        read(name, path)


@pytest.mark.parametrize("outside", ["/cifar-10-batches-bin/data_batch_1.bin", "cifar-10-batches-bin/../../x.bin"])
def test_official_archive_that_points_outside_is_refused(small_archive, outside):
    name, path, made = small_archive
    write_archive(path, {outside: b"x", **{member: parts[2] for member, parts in made.items()}})
    with pytest.raises(ValueError, match=rf"{ARCHIVE[name]}: expected members inside the archive, found '{outside}'"):
        read(name, path)


def test_half_an_official_archive_is_refused(small_archive):
    name, path, _ = small_archive
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match=rf"{ARCHIVE[name]}: expected a complete tar.gz archive"):
        read(name, path)


def test_another_archive_under_the_official_name_is_refused(small_archive, tmp_path):
    name, path, _ = small_archive
    folder = tmp_path / name
    folder.mkdir()
    path.rename(folder / path.name)
    with pytest.raises(ValueError, match=rf"{ARCHIVE[name]}: expected SHA-256 .* damaged or of another version"):
        load_dataset(name, tmp_path)


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_stock_sets_come_back_in_the_official_order(name):
    """TFDS shuffles what it writes; the ids undo it."""
    rng = np.random.default_rng(0)
    splits = {}
    for split in ("train", "test"):
        order = rng.permutation(12)
        splits[split] = {
            "id": [f"{split}_{i:05d}".encode() for i in order],
            "image": [np.full((32, 32, 3), i, np.uint8) for i in order],
            "label": [int(i) % 10 for i in order],
            "coarse_label": [int(i) % 7 for i in order],
        }
    tables = DATASETS[name].from_stock(splits)
    rows = np.arange(12)
    for table in tables.values():
        np.testing.assert_array_equal(table["image"][:, 0, 0, 0], rows)
        np.testing.assert_array_equal(table["label" if name == "cifar10" else "fine"], rows % 10)
        if name == "cifar100":
            np.testing.assert_array_equal(table["coarse"], rows % 7)


def digest(array):
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "train", "test"),
    [
        (
            "cifar10",
            "fc115a3de050d667b88cbd5b0b9612ebf996c54230fe7758f3a14bb5af9a1c27",
            "4946cb5ae9a2c68e6ca2da22e50da3b523358fd85ffaccfe834632e039845928",
        ),
        (
            "cifar100",
            "af4b05e14f8ef761a098fdbeb160d7dfb51e6eed1a967d37da8f7b6a535f26ef",
            "bf764bf94caff0e8c4931f2a3bb7a0bb22c60d7aac547fdc65f20c4b80ac33c9",
        ),
    ],
)
def test_subset_images_are_those_of_the_checksums(data_folder, name, train, test):
    assert digest(load_dataset(name, data_folder, split="train").inputs) == train
    assert digest(load_dataset(name, data_folder, split="test").inputs) == test


@pytest.mark.data
def test_cifar10_subset(data_folder):
    data = load_dataset("cifar10", data_folder, split="all")
    assert data.inputs.shape == (12_000, 32, 32, 3)
    assert data.inputs.dtype == np.uint8
    # The well-known first images of the official training and test batches.
    assert [data.class_names[i] for i in data.labels[:4]] == ["frog", "truck", "truck", "deer"]
    assert [data.class_names[i] for i in data.labels[10_000:10_004]] == ["cat", "ship", "ship", "airplane"]
    # data_batch_1 has these numbers of the ten classes.
    assert np.bincount(data.labels[:10_000]).tolist() == [1005, 974, 1032, 1016, 999, 937, 1030, 1001, 1025, 981]
    assert data.official_test.tolist() == [False] * 10_000 + [True] * 2_000
    assert data.clients is None
    assert "subset" in data.source


@pytest.mark.data
def test_cifar100_subset(data_folder):
    data = load_dataset("cifar100", data_folder, split="all")
    assert np.bincount(data.labels).tolist() == [60] * 100
    assert (data.class_names[0], data.class_names[99]) == ("apple", "worm")
    assert list(data.class_names) == sorted(data.class_names)
    assert data.clients is None
    limited = load_dataset("cifar100", data_folder, split="test", limit=150)
    np.testing.assert_array_equal(limited.example_ids, np.arange(5_000, 5_150))


@pytest.mark.data
def test_cifar100_groups_are_the_superclasses(data_folder):
    fine = load_dataset("cifar100", data_folder)
    coarse = load_dataset("cifar100", data_folder, labels="coarse", natural="coarse")
    assert coarse.class_names == coarse.client_names == tuple(GROUPS)
    assert np.bincount(coarse.labels).tolist() == [250] * 20
    np.testing.assert_array_equal(coarse.clients, coarse.labels)
    for image in range(100):  # one of each fine class
        assert fine.class_names[fine.labels[image]] in GROUPS[coarse.class_names[coarse.labels[image]]].split()


@pytest.mark.data
def test_cifar100_clients_are_those_that_have_images(data_folder):
    data = load_dataset("cifar100", data_folder, natural="coarse", limit=3)  # apple, aquarium fish, baby
    assert data.client_names == ("fish", "fruit_and_vegetables", "people")
    assert data.clients.tolist() == [1, 0, 2]


@pytest.mark.data
@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_mean_and_deviation_are_those_of_the_images(data_folder, name):
    data = load_dataset(name, data_folder)
    seen = data.preprocess(data.inputs).astype(np.float64)
    # The subset is a fifth (a tenth) of the training images that the published numbers are of.
    np.testing.assert_allclose(seen.mean(axis=(0, 1, 2)), 0, atol=0.02)
    np.testing.assert_allclose(seen.std(axis=(0, 1, 2)), 1, atol=0.02)


@pytest.mark.data
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": "course"}, "labels: expected one of coarse, fine, got 'course'; did you mean 'coarse'"),
        ({"natural": "fine"}, "natural: expected one of coarse, none, got 'fine'"),
        ({"limit": 5_001}, r"limit: expected 1\.\.5000 for split 'train', got 5001"),
        ({"split": "valid"}, "split: expected one of all, test, train, got 'valid'"),
    ],
)
def test_cifar100_errors(data_folder, options, message):
    with pytest.raises(ValueError, match=message):
        load_dataset("cifar100", data_folder, **options)
