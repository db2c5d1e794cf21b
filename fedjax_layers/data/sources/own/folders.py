"""A user's own pictures in a folder per class, and data in a folder per client."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np

from fedjax_layers.data.dataset import Dataset
from fedjax_layers.data.sources.own.arrays import Missing, OwnTask, Scaling, from_arrays
from fedjax_layers.data.sources.own.held_out import part_folders, test_files
from fedjax_layers.data.sources.own.names import option_names
from fedjax_layers.data.sources.own.npz import labelled_arrays
from fedjax_layers.data.sources.own.pfllib.convert import is_pickled_tree, refusal
from fedjax_layers.data.sources.own.picture_files import entries, folders, picture_files, read_pictures
from fedjax_layers.data.sources.own.table import join_tables, read_csv
from fedjax_layers.data.sources.own.table_dataset import MAX_CATEGORIES, TableOptions, table_dataset
from fedjax_layers.data.tables.source import Source


def _image_folder(*, path: str, size: tuple[int, ...] = (), grey: bool = False) -> Dataset:
    """Read pictures ``[N, H, W, 1 or 3]`` uint8 from one folder per class: ``path/<class>/<picture>``.

    Where ``path`` has only the folders train and test (and perhaps val), each with the classes' folders, the pictures
    of test are set apart for testing. Classes and pictures are in sorted order. Hidden files are ignored; any other
    file that is no picture, and a link that leads out of ``path``, is an error.

    Args:
      path: folder of the classes' folders.
      size: height and width to scale the pictures to; needed where they differ.
      grey: whether pictures get one channel in place of three.

    Raises:
      FileNotFoundError: there is no folder at ``path``.
      ValueError: a file is no picture, a folder is empty, there is only one class, or pictures differ in size.
    """
    root = Path(str(path)).expanduser()
    files, labels, test = _class_folders(root, root)
    return from_arrays(
        read_pictures(files, size, grey),
        labels,
        name="image_folder",
        preprocess="scale",
        official_test=test,
        source=str(root),
    )


def _client_folder(
    *,
    path: str,
    size: tuple[int, ...] = (),
    grey: bool = False,
    label: str = "",
    features: tuple[str, ...] = (),
    task: str = "auto",
    missing: str = "error",
    missing_values: tuple[str, ...] = (),
    kinds: tuple[str, ...] = (),
    classes: tuple[str, ...] = (),
    id: str = "",  # noqa: A002
    max_categories: int = MAX_CATEGORIES,
    test_column: str = "auto",
    preprocess: str = "auto",
) -> Dataset:
    """Read one folder per client, all of one form: ``path/<client>/<class>/<picture>``, or CSV or npz files in it.

    A client's CSV files are one table, and so are its npz files; columns, types and shapes are those of all clients.
    These are set apart for testing: a client's file ``test`` beside others, a file like ``ward_test`` beside
    ``ward_train``, and a folder ``test`` beside only ``train`` (and perhaps ``val``), around the clients' folders or in
    a client's.

    Args:
      path: folder of the clients' folders.
      size: height and width to scale pictures to, as in ``image_folder``.
      grey: whether pictures get one channel in place of three.
      label: column of CSV files with the class or the target.
      features: columns of CSV files that are inputs; empty takes all but label and id.
      task: kind of prediction from CSV or npz files, as in ``csv``.
      missing: what to do about missing values in CSV or npz files, as in ``csv``.
      missing_values: further texts in CSV files that stand for a missing value.
      kinds: overrides for columns of CSV files, like ``"age:number"`` and ``"ward:category"``.
      classes: the classes of CSV or npz files in order; empty takes the sorted labels.
      id: column of CSV files whose values must not repeat.
      max_categories: largest number of values of one category column of CSV files.
      test_column: column of CSV files that says which rows are set apart for testing, as in ``csv``.
      preprocess: how a model reads the arrays of npz files, as in ``npz``.

    Raises:
      FileNotFoundError: no folder at ``path``.
      ValueError: folders have several forms or are empty, files differ in columns, or the readers of these forms raise
        it.
    """
    root = Path(str(path)).expanduser()
    places = _places(root)
    form = _form(places, root)
    if form == "pictures":
        return _pictures_by_client(places, root, size, grey)
    if form == ".npz":
        scaling = cast(Scaling, preprocess)
        return _arrays_by_client(
            places, root, cast(OwnTask, task), option_names(classes), scaling, cast(Missing, missing)
        )
    if label == "":
        raise ValueError(f"label: expected a column of the CSV files in {root}, got none")
    options = TableOptions(
        label=str(label),
        features=option_names(features),
        task=cast(OwnTask, task),
        missing=cast(Missing, missing),
        kinds=option_names(kinds),
        classes=option_names(classes),
        id=str(id),
        max_categories=max_categories,
        test_column=str(test_column),
    )
    return _tables_by_client(places, root, options, option_names(missing_values))


class _Place(NamedTuple):
    """A folder with examples of one client, all of one part unless the files' names say otherwise."""

    folder: Path
    client: str
    test: bool


def _places(root: Path) -> list[_Place]:
    """List the folders with the clients' examples, those of training first."""
    if is_pickled_tree(root):
        raise refusal(root)
    found = folders(root, root, "client")
    parts = part_folders(found)
    if parts is not None:
        places = [
            _Place(folder, folder.name, part == "test")
            for part_folder, part in parts.items()
            for folder in folders(part_folder, root, "client")
        ]
    else:
        places = []
        for client in found:
            own = part_folders(list(entries(client, root)))
            halves = [(client, "train")] if own is None else list(own.items())
            places += [_Place(folder, client.name, part == "test") for folder, part in halves]
    return sorted(places, key=lambda place: place.test)


def _form(places: Sequence[_Place], root: Path) -> str:
    """Return the form of the clients' folders: ``pictures``, ``.csv`` or ``.npz``."""
    forms = {}
    for client, _, _ in places:
        kinds = {"pictures" if path.is_dir() else path.suffix.lower() for path in entries(client, root)}
        if len(kinds) != 1 or not kinds <= {"pictures", ".csv", ".npz"}:
            found = ", ".join(sorted(kind or "a file without suffix" for kind in kinds)) or "an empty folder"
            raise ValueError(f"{client}: expected class folders, CSV files or npz files alone, found {found}")
        forms[client] = kinds.pop()
    first = places[0].folder
    for client, form in forms.items():
        if form != forms[first]:
            raise ValueError(f"{client}: expected {forms[first]} as in {first.name}, found {form}")
    return forms[first]


def _class_folders(root: Path, folder: Path) -> tuple[list[Path], list[str], np.ndarray | None]:
    """List the pictures of class folders, their classes, and flags ``[N]`` on a test part if there is one."""
    parts = part_folders(list(entries(folder, root))) if folder.is_dir() else None
    if parts is not None and not all(path.is_dir() for part in parts for path in entries(part, root)):
        parts = None  # these are two classes with such names, and pictures in them
    files: list[Path] = []
    labels: list[str] = []
    flags: list[bool] = []
    for place, part in sorted((parts or {folder: "train"}).items(), key=lambda item: item[1] == "test"):
        for class_folder in folders(place, root, "class"):
            pictures = picture_files(class_folder, root)
            files += pictures
            labels += [class_folder.name] * len(pictures)
            flags += [part == "test"] * len(pictures)
    return files, labels, None if parts is None else np.array(flags, bool)


def _pictures_by_client(places: Sequence[_Place], root: Path, size: tuple[int, ...], grey: bool) -> Dataset:
    files: list[Path] = []
    labels: list[str] = []
    owners: list[str] = []
    tests: list[bool] = []
    for place in places:
        client_files, client_labels, _ = _class_folders(root, place.folder)
        files += client_files
        labels += client_labels
        owners += [place.client] * len(client_files)
        tests += [place.test] * len(client_files)
    return from_arrays(
        read_pictures(files, size, grey),
        labels,
        owners,
        name="client_folder",
        preprocess="scale",
        official_test=np.array(tests, bool) if any(tests) else None,
        source=str(root),
    )


def _files(places: Sequence[_Place], root: Path) -> list[tuple[str, Path, bool]]:
    """List client, file, and whether it belongs to the test part, by the name of the file or its folder."""
    files = []
    for place in places:
        found = list(entries(place.folder, root))
        test = test_files(found)
        files += [(place.client, path, place.test or path in test) for path in found]
    return files


def _tables_by_client(
    places: Sequence[_Place], root: Path, options: TableOptions, missing_values: Sequence[str]
) -> Dataset:
    files = _files(places, root)
    tables = [read_csv(path, missing_values=missing_values) for _, path, _ in files]
    rows = [len(table) for table in tables]
    owners = np.repeat([client for client, _, _ in files], rows)
    test = np.repeat([of_test for _, _, of_test in files], rows)
    return table_dataset("client_folder", join_tables(tables), options, owners, test)


def _arrays_by_client(
    places: Sequence[_Place],
    root: Path,
    task: OwnTask,
    classes: tuple[str, ...],
    preprocess: Scaling,
    missing: Missing,
) -> Dataset:
    inputs: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    tests: list[np.ndarray] = []
    owners: list[str] = []
    for client, path, of_test in _files(places, root):
        arrays, test, _ = labelled_arrays(path)
        if "client" in arrays:
            raise ValueError(f"{path}: expected no array client, which the folder {client} names, found one")
        if inputs and (arrays["x"].shape[1:], arrays["x"].dtype) != (inputs[0].shape[1:], inputs[0].dtype):
            expected, found = (f"{x.dtype} {x.shape[1:]}" for x in (inputs[0], arrays["x"]))
            raise ValueError(f"{path}, array x: expected entries {expected} as in the first file, found {found}")
        if labels and arrays["y"].dtype.kind != labels[0].dtype.kind:
            expected, found = str(labels[0].dtype), str(arrays["y"].dtype)
            raise ValueError(f"{path}, array y: expected {expected} as in the first file, found {found}")
        inputs.append(arrays["x"])
        labels.append(arrays["y"])
        tests.append(np.full(len(arrays["x"]), of_test) if test is None else test | of_test)
        owners += [client] * len(arrays["x"])
    flags = np.concatenate(tests)
    return from_arrays(
        np.concatenate(inputs),
        np.concatenate(labels),
        owners,
        name="client_folder",
        task=task,
        classes=classes,
        preprocess=preprocess,
        missing=missing,
        official_test=flags if flags.any() else None,
        source=str(root),
    )


IMAGE_FOLDER = Source(
    name="image_folder",
    title="pictures of your own, a folder per class",
    task="classification",
    licence="the user's own",
    citation="the user's own",
    build=_image_folder,
    own=True,
    obtain="path names the folder that holds the classes' folders",
)

CLIENT_FOLDER = Source(
    name="client_folder",
    title="data of your own, a folder per client",
    task="classification",
    licence="the user's own",
    citation="the user's own",
    build=_client_folder,
    clients="folder",
    own=True,
    obtain="path names the folder that holds the clients' folders, each with class folders, CSV or npz files",
)
