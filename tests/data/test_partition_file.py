"""Partition files: everything comes back, what is damaged or foreign is one line that names the file."""

import dataclasses
import io
import json
import zipfile

import numpy as np
import pytest

from fedjax_layers.data import apply_partition, load, load_dataset, save_partition

CASES = {
    "natural": ("heart", {}),
    "natural, global test, unseen": ("heart", {"global_test": 0.2, "unseen": (3,)}),
    "teams": ("digits", {"partition": "two_level", "clients": 6, "teams": 3, "min_size": 5}),
    "everything at once": (
        "digits",
        {"clients": 6, "alpha": 0.3, "min_size": 5, "seed": 2, "global_test": 0.1, "unseen": 2, "split_seed": 4},
    ),
    "some examples unused": ("digits", {"partition": "pfedla_2", "clients": 4, "stratified": False}),
    "copies dropped": ("heart", {"duplicates": "drop", "test_fraction": 0.4}),
    "shifted": ("digits", {"clients": 3, "seed": 5, "feature_shift": "noise", "sigma": 0.4, "global_test": 0.1}),
    "turned": ("digits", {"clients": 4, "feature_shift": "rotation", "shifts": 2, "degrees": 180.0}),
    "generated": ("synthetic", {"clients": 5, "max_samples": 80, "seed": 3}),
}


def assert_same(one, other):
    """All fields of two ClientData, arrays in dtype too."""
    for field in dataclasses.fields(one):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if isinstance(a, np.ndarray):
            assert a.dtype == b.dtype, field.name
            np.testing.assert_array_equal(a, b, err_msg=field.name)
        elif field.name == "ranges":
            for split, spans in a.items():
                np.testing.assert_array_equal(spans, b[split], err_msg=split)
        elif field.name == "partition":
            assert json.loads(json.dumps(a)) == json.loads(json.dumps(b))
        else:
            assert a == b, field.name


@pytest.mark.parametrize("case", CASES)
def test_everything_comes_back(case, tmp_path):
    name, options = CASES[case]
    data = load(name, **options)
    assert save_partition(data, tmp_path / "split.npz") == data.partition_hash
    own = {k: v for k, v in options.items() if name == "synthetic"}
    again = load(name, partition_file=tmp_path / "split.npz", **own)
    assert_same(data, again)
    assert again.partition_hash == data.partition_hash
    assert [p.name for p in tmp_path.iterdir()] == ["split.npz"]


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("parkinsons", {"unseen": 5, "global_test": 0.1}),
        ("ud_english_ewt", {"natural": "genre", "global_test": 0.05}),
        ("fashion_mnist", {"split": "all", "limit": 65_000, "global_test": "official", "partition": "permfl"}),
    ],
)
def test_other_kinds_of_data_come_back(name, options, tmp_path, data_folder):
    data = load(name, data_dir=data_folder, **options)
    save_partition(data, tmp_path / "split.npz")
    own = {k: v for k, v in options.items() if k in ("natural", "split", "limit")}
    assert_same(data, load(name, data_dir=data_folder, partition_file=tmp_path / "split.npz", **own))


@pytest.fixture(scope="module")
def heart():
    """The clients of heart, a global test set and unseen clients."""
    return load("heart", global_test=0.1, unseen=(1,))


@pytest.fixture
def content(heart, tmp_path):
    """What a partition file of heart holds, by array."""
    save_partition(heart, tmp_path / "good.npz")
    with np.load(tmp_path / "good.npz", allow_pickle=False) as box:
        return dict(box)


@pytest.fixture
def refused(tmp_path):
    """A function that checks that arrays or bytes are refused in one line that names the file."""

    def check(given, *tells, name="heart"):
        path = tmp_path / "bad.npz"
        if isinstance(given, bytes):
            path.write_bytes(given)
        else:
            np.savez(path, **given)
        with pytest.raises(ValueError, match="expected") as caught:
            apply_partition(load_dataset(name), path)
        text = str(caught.value)
        assert text.startswith(f"{path}: ")
        assert "\n" not in text
        for tell in tells:
            assert tell in text

    return check


def about(content, **changes):
    """The array ``about`` with other texts."""
    texts = json.loads(content["about"].tobytes().decode()) | changes
    return np.frombuffer(json.dumps(texts).encode(), np.uint8)


def test_the_documented_arrays_are_there(heart, content):
    client, split = heart.places
    assert {k: v.dtype.str for k, v in content.items()} == {
        "example_ids": "<i8",
        "client": "<i4",
        "split": "|i1",
        "unseen": "|b1",
        "teams": "<i4",
        "about": "|u1",
    }
    np.testing.assert_array_equal(content["example_ids"], heart.example_ids)
    np.testing.assert_array_equal(content["client"], client)
    np.testing.assert_array_equal(content["split"], split)
    assert content["unseen"].tolist() == [False, True, False, False]
    texts = json.loads(content["about"].tobytes().decode())
    assert texts["dataset"] == "heart"
    assert texts["client_names"] == ["cleveland", "hungarian", "switzerland", "va"]
    assert texts["partition_hash"] == heart.partition_hash


def test_the_order_of_rows_in_the_file_does_not_matter(heart, content, tmp_path):
    order = np.random.default_rng(0).permutation(len(content["client"]))
    shuffled = {k: content[k][order] for k in ("example_ids", "client", "split")}
    np.savez(tmp_path / "shuffled.npz", **content | shuffled)
    assert_same(heart, apply_partition(load_dataset("heart"), tmp_path / "shuffled.npz"))


def test_a_file_of_another_data_set_is_refused(content, refused):
    refused(content, "a partition of digits, found one of heart", name="digits")


@pytest.mark.parametrize("missing", ["example_ids", "client", "split", "unseen", "teams", "about"])
def test_a_missing_array_is_named(content, refused, missing):
    del content[missing]
    refused(content, missing)


def test_ids_that_the_data_lack_are_counted(content, refused):
    content["example_ids"][[3, 5]] += 10_000
    refused(content, f"found id {content['example_ids'][3]}, which it lacks (and 1 more)")


def test_an_id_listed_twice_is_a_leak(content, refused):
    content["example_ids"][0] = content["example_ids"][-1]
    refused(content, f"example id {content['example_ids'][-1]} in")


def test_another_owner_does_not_fit_the_hash(content, refused):
    content["client"][0] = 3
    refused(content, "a partition with hash", "the file is damaged")


def without_training(content):
    """Client 2 is only tested."""
    split = np.where(content["client"] == 2, 2, content["split"]).astype(np.int8)
    return {"split": split}


MISFITS = {
    "fewer owners": (lambda c: {"client": c["client"][:-1]}, "the arrays and texts"),
    "a client that is not there": (lambda c: {"client": c["client"] + 1}, "clients -1..3"),
    "a fourth split": (lambda c: {"split": c["split"] + 1}, "splits 0..2"),
    "owners in two axes": (lambda c: {"client": c["client"][:, None]}, "the arrays and texts"),
    "owners that are floats": (lambda c: {"client": c["client"].astype(float)}, "the arrays and texts"),
    "ids that are texts": (lambda c: {"example_ids": c["example_ids"].astype(str)}, "the arrays and texts"),
    "a number for unseen": (lambda c: {"unseen": np.array(1)}, "the arrays and texts"),
    "unseen that are numbers": (lambda c: {"unseen": c["unseen"].astype(int)}, "the arrays and texts"),
    "everybody unseen": (lambda c: {"unseen": np.ones(4, bool)}, "some clients that train"),
    "too many teams": (lambda c: {"teams": np.arange(5)}, "teams of 4 clients"),
    "a client that never trains": (without_training, "a training example for each client, found none for client 2"),
    "a list for about": (lambda _: {"about": np.frombuffer(b"[1]", np.uint8)}, "the arrays and texts"),
    "about that is no JSON": (lambda c: {"about": c["about"][:-4]}, "could not read one"),
    "about that is no text": (lambda _: {"about": np.frombuffer(b"\xff{}", np.uint8)}, "could not read one"),
    "too few names": (lambda c: {"about": about(c, client_names=["a"])}, "names of 4 clients"),
    "names that are numbers": (lambda c: {"about": about(c, client_names=[1, 2, 3, 4])}, "the arrays and texts"),
    "a description that is a text": (lambda c: {"about": about(c, partition="iid")}, "the arrays and texts"),
    "a text more": (lambda c: {"about": about(c, more=1)}, "the arrays and texts"),
    "a feature shift of no images": (
        lambda c: {"about": about(c, partition={"feature_shift": "noise", "seed": 0})},
        "feature shift",
    ),
    "an unknown feature shift": (
        lambda c: {"about": about(c, partition={"feature_shift": "nose", "seed": 0})},
        "did you mean 'noise'",
    ),
    "an option that the shift has not": (
        lambda c: {"about": about(c, partition={"feature_shift": "noise", "feature_shift_params": {"x": 1}})},
        "feature shift",
    ),
    "an option of a wrong type": (
        lambda c: {"about": about(c, partition={"feature_shift": "noise", "feature_shift_params": {"sigma": "a"}})},
        "feature_shift_params: expected options of noise",
    ),
}


@pytest.mark.parametrize("misfit", MISFITS)
def test_arrays_and_texts_that_do_not_fit_are_refused(content, refused, misfit):
    change, tells = MISFITS[misfit]
    refused(content | change(content), tells)


def test_objects_are_not_unpickled(content, refused, tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    content["client"] = np.array([Trap()] * len(content["client"]), object)
    refused(content, "Python objects, which only unpickling could read")
    assert not (tmp_path / "sprung").exists()


def test_other_files_are_no_partition_files(refused, tmp_path):
    refused(b"", "could not read one")
    refused(b"client,split\n0,1\n", "could not read one")
    array = io.BytesIO()
    np.save(array, np.arange(3))
    refused(array.getvalue(), "could not read one")
    box = io.BytesIO()
    with zipfile.ZipFile(box, "w") as archive:
        archive.writestr("client.npy", b"no array")
    refused(box.getvalue(), "could not read one")
    for nothing in (tmp_path / "none.npz", tmp_path):
        with pytest.raises(FileNotFoundError, match="partition_file: expected a file, found none at"):
            apply_partition(load_dataset("heart"), nothing)


def test_a_truncated_file_is_refused(content, refused, tmp_path):
    whole = (tmp_path / "good.npz").read_bytes()
    for end in range(1, len(whole), len(whole) // 40):
        refused(whole[:end], "could not read one")


def test_a_flipped_byte_is_refused_or_changes_nothing(heart, content, tmp_path):
    """Some bytes, as the time of a member, say nothing of the partition; all others are found out."""
    dataset, whole = load_dataset("heart"), (tmp_path / "good.npz").read_bytes()
    path, caught = tmp_path / "bad.npz", 0
    for place in range(0, len(whole), 5):
        bad = bytearray(whole)
        bad[place] ^= 0xFF if place % 2 else 0x01
        path.write_bytes(bad)
        try:
            found = apply_partition(dataset, path)
        except ValueError as error:
            caught += 1
            assert str(error).startswith(f"{path}: ")  # noqa: PT017  (some flips are harmless)
            assert "\n" not in str(error)  # noqa: PT017
        else:
            assert_same(heart, found)
    assert caught > 0.6 * len(range(0, len(whole), 5))


def test_generated_data_have_to_be_generated_alike(tmp_path):
    """Example 5 of another seed is another example."""
    path = tmp_path / "split.npz"
    save_partition(load("synthetic", clients=5, max_samples=80, seed=3), path)
    for options, told in (
        ({"clients": 5, "max_samples": 80, "seed": 4}, "generated with seed=3, got seed=4"),
        ({"clients": 5, "max_samples": 80, "seed": 3, "alpha": 0.5}, "generated with alpha=1.0, got alpha=0.5"),
    ):
        with pytest.raises(ValueError, match=f"{path}: expected synthetic {told}"):
            load("synthetic", partition_file=path, **options)


def test_saving_where_there_is_no_folder_says_so(heart, tmp_path):
    with pytest.raises(FileNotFoundError, match=f"save: expected a folder {tmp_path}/none, found none"):
        save_partition(heart, tmp_path / "none" / "split.npz")
