"""A user's own pictures: a folder per class, and perhaps a folder per client around them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np

from fedjax_layers.data.dataset import Dataset
from fedjax_layers.data.source import Source
from fedjax_layers.data.sources.own.arrays import Missing, OwnTask, Scaling, from_arrays
from fedjax_layers.data.sources.own.names import option_names
from fedjax_layers.data.sources.own.npz import labelled_arrays
from fedjax_layers.data.sources.own.picture_files import entries, folders, picture_files, read_pictures
from fedjax_layers.data.sources.own.table import join_tables, read_csv
from fedjax_layers.data.sources.own.table_dataset import MAX_CATEGORIES, TableOptions, table_dataset


def _image_folder(*, path: str, size: tuple[int, ...] = (), grey: bool = False) -> Dataset:
    """Pictures ``[N, H, W, 1 or 3]`` uint8 in one folder per class: ``path/<class>/<picture>``.

    Classes and pictures are in sorted order. Hidden files are passed over; any other file that is no picture, and a
    link that leads out of ``path``, is an error.

    Args:
      path: folder of the classes' folders.
      size: height and width to scale the pictures to; needed where they differ.
      grey: one channel instead of three.

    Raises:
      FileNotFoundError: no folder at ``path``.
      ValueError: a file that is no picture, an empty folder, one class only, or pictures of several sizes.
    """
    root = Path(str(path)).expanduser()
    files, labels = _class_folders(root, root)
    return from_arrays(
        read_pictures(files, size, grey), labels, name="image_folder", preprocess="scale", source=str(root)
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
    kinds: tuple[str, ...] = (),
    classes: tuple[str, ...] = (),
    id: str = "",  # noqa: A002
    max_categories: int = MAX_CATEGORIES,
    preprocess: str = "auto",
) -> Dataset:
    """One folder per client, all of one form: ``path/<client>/<class>/<picture>``, or CSV or npz files in it.

    A client's CSV files are one table, and so are its npz files; columns, types and shapes are those of all clients.

    Args:
      path: folder of the clients' folders.
      size: of pictures, see ``image_folder``.
      grey: of pictures, see ``image_folder``.
      label: of CSV files, the column with the class or the target.
      features: of CSV files, see ``csv``.
      task: of CSV and npz files, see ``csv``.
      missing: of CSV and npz files, see ``csv``.
      kinds: of CSV files, see ``csv``.
      classes: of CSV and npz files, see ``csv``.
      id: of CSV files, see ``csv``.
      max_categories: of CSV files, see ``csv``.
      preprocess: of npz files, see ``npz``.

    Raises:
      FileNotFoundError: no folder at ``path``.
      ValueError: folders of several forms or empty ones, files that differ in columns, or what the forms' own
        sources refuse.
    """
    root = Path(str(path)).expanduser()
    clients = folders(root, root, "client")
    form = _form(clients, root)
    if form == "pictures":
        return _pictures_by_client(clients, root, size, grey)
    if form == ".npz":
        scaling = cast(Scaling, preprocess)
        return _arrays_by_client(
            clients, root, cast(OwnTask, task), option_names(classes), scaling, cast(Missing, missing)
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
    )
    return _tables_by_client(clients, root, options)


def _form(clients: Sequence[Path], root: Path) -> str:
    """What the clients' folders hold: ``pictures``, ``.csv`` or ``.npz``."""
    forms = {}
    for client in clients:
        kinds = {"pictures" if path.is_dir() else path.suffix.lower() for path in entries(client, root)}
        if len(kinds) != 1 or not kinds <= {"pictures", ".csv", ".npz"}:
            found = ", ".join(sorted(kind or "a file without suffix" for kind in kinds)) or "an empty folder"
            raise ValueError(f"{client}: expected class folders, CSV files or npz files alone, found {found}")
        forms[client] = kinds.pop()
    first = clients[0]
    for client, form in forms.items():
        if form != forms[first]:
            raise ValueError(f"{client}: expected {forms[first]} as in {first.name}, found {form}")
    return forms[first]


def _class_folders(folder: Path, root: Path) -> tuple[list[Path], list[str]]:
    """The pictures of a folder of class folders, and each one's class."""
    files: list[Path] = []
    labels: list[str] = []
    for class_folder in folders(folder, root, "class"):
        pictures = picture_files(class_folder, root)
        files += pictures
        labels += [class_folder.name] * len(pictures)
    return files, labels


def _pictures_by_client(clients: Sequence[Path], root: Path, size: tuple[int, ...], grey: bool) -> Dataset:
    files: list[Path] = []
    labels: list[str] = []
    owners: list[str] = []
    for client in clients:
        client_files, client_labels = _class_folders(client, root)
        files += client_files
        labels += client_labels
        owners += [client.name] * len(client_files)
    return from_arrays(
        read_pictures(files, size, grey), labels, owners, name="client_folder", preprocess="scale", source=str(root)
    )


def _tables_by_client(clients: Sequence[Path], root: Path, options: TableOptions) -> Dataset:
    tables = [(client.name, read_csv(path)) for client in clients for path in entries(client, root)]
    owners = np.repeat([name for name, _ in tables], [len(table) for _, table in tables])
    return table_dataset("client_folder", join_tables([table for _, table in tables]), options, owners)


def _arrays_by_client(
    clients: Sequence[Path],
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
    for client in clients:
        for path in entries(client, root):
            arrays, test = labelled_arrays(path)
            if "client" in arrays:
                raise ValueError(f"{path}: expected no array client, which the folder {client.name} names, found one")
            if inputs and (arrays["x"].shape[1:], arrays["x"].dtype) != (inputs[0].shape[1:], inputs[0].dtype):
                expected, found = (f"{x.dtype} {x.shape[1:]}" for x in (inputs[0], arrays["x"]))
                raise ValueError(f"{path}, array x: expected entries {expected} as in the first file, found {found}")
            if labels and arrays["y"].dtype.kind != labels[0].dtype.kind:
                expected, found = str(labels[0].dtype), str(arrays["y"].dtype)
                raise ValueError(f"{path}, array y: expected {expected} as in the first file, found {found}")
            inputs.append(arrays["x"])
            labels.append(arrays["y"])
            tests.append(np.zeros(len(arrays["x"]), bool) if test is None else test)
            owners += [client.name] * len(arrays["x"])
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
    obtain="path names the folder that holds the clients' folders, each with class folders, CSV or npz files",
)
