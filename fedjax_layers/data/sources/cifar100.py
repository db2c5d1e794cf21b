"""CIFAR-100: 32 x 32 colour photographs of a hundred kinds of things in twenty groups."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fedjax_layers.data.dataset import Dataset, present_clients
from fedjax_layers.data.formats.cifar import SIDE, from_stock, read_binary, read_tiled
from fedjax_layers.data.preprocess import Preprocess
from fedjax_layers.data.tables.columns import Tables, image, label
from fedjax_layers.data.tables.files import SourceFile
from fedjax_layers.data.tables.parts import take_parts
from fedjax_layers.data.tables.source import Layout, Source
from fedjax_layers.options import unknown_name

GROUPS = {
    "aquatic_mammals": "beaver dolphin otter seal whale",
    "fish": "aquarium_fish flatfish ray shark trout",
    "flowers": "orchid poppy rose sunflower tulip",
    "food_containers": "bottle bowl can cup plate",
    "fruit_and_vegetables": "apple mushroom orange pear sweet_pepper",
    "household_electrical_devices": "clock keyboard lamp telephone television",
    "household_furniture": "bed chair couch table wardrobe",
    "insects": "bee beetle butterfly caterpillar cockroach",
    "large_carnivores": "bear leopard lion tiger wolf",
    "large_man-made_outdoor_things": "bridge castle house road skyscraper",
    "large_natural_outdoor_scenes": "cloud forest mountain plain sea",
    "large_omnivores_and_herbivores": "camel cattle chimpanzee elephant kangaroo",
    "medium_mammals": "fox porcupine possum raccoon skunk",
    "non-insect_invertebrates": "crab lobster snail spider worm",
    "people": "baby boy girl man woman",
    "reptiles": "crocodile dinosaur lizard snake turtle",
    "small_mammals": "hamster mouse rabbit shrew squirrel",
    "trees": "maple_tree oak_tree palm_tree pine_tree willow_tree",
    "vehicles_1": "bicycle bus motorcycle pickup_truck train",
    "vehicles_2": "lawn_mower rocket streetcar tank tractor",
}  # the authors' groups ("coarse labels"), numbered 0 to 19
_NAMES = {"fine": tuple(sorted(" ".join(GROUPS.values()).split())), "coarse": tuple(GROUPS)}
_NATURAL = ("none", "coarse")
_ARCHIVE = "cifar-100-binary.tar.gz"
_MEMBERS = {"train": ("cifar-100-binary/train.bin",), "test": ("cifar-100-binary/test.bin",)}


def _cifar100(
    tables: Tables,
    provenance: str,
    *,
    split: str = "train",
    limit: int | None = None,
    labels: str = "fine",
    natural: str = "none",
) -> Dataset:
    """Make CIFAR-100, ``[N, 32, 32, 3]`` uint8, 100 fine or 20 coarse classes.

    Mean and standard deviation are those of the 50,000 training images, as DenseNet (Huang et al., arXiv
    1608.06993) uses them; the numbers are from fb.resnet.torch.

    Args:
      tables: columns ``image``, ``fine`` and ``coarse``.
      provenance: line on the source of the data.
      split: official part: ``"train"``, ``"test"`` or ``"all"`` (train, then test).
      limit: number of first images to take; ``None`` takes all.
      labels: what is predicted, ``"fine"`` or ``"coarse"``.
      natural: natural clients: ``"coarse"`` makes each coarse class a natural client, ``"none"`` has no natural
        clients.

    Raises:
      ValueError: an unknown split or name, or a limit out of range.
    """
    if labels not in _NAMES:
        raise unknown_name("labels", labels, _NAMES)
    if natural not in _NATURAL:
        raise unknown_name("natural", natural, _NATURAL)
    examples = take_parts(tables, split, limit)
    clients, names = present_clients(examples.array("coarse"), _NAMES["coarse"])
    return Dataset(
        name="cifar100",
        inputs=examples.array("image"),
        labels=examples.array(labels).astype(np.int32),
        class_names=_NAMES[labels],
        clients=clients if natural == "coarse" else None,
        client_names=names if natural == "coarse" else (),
        preprocess=Preprocess(
            scale=1 / 255,
            mean=(129.3 / 255, 124.1 / 255, 112.4 / 255),
            std=(68.2 / 255, 65.4 / 255, 70.4 / 255),
        ),
        source=provenance,
        licence=CIFAR100.licence,
        example_ids=examples.ids,
        official_test=examples.official_test,
    )


def _read_archive(files: Mapping[str, Path]) -> Tables:
    return read_binary(files[_ARCHIVE], _MEMBERS, ("coarse", "fine"))


def _read_subset(files: Mapping[str, Path]) -> Tables:
    arrays = {split: {column: f"{split}_{column}" for column in ("fine", "coarse")} for split in ("train", "test")}
    return read_tiled(files, arrays)


CIFAR100 = Source(
    name="cifar100",
    title="photographs of a hundred kinds of things, 32x32 RGB",
    task="classification",
    licence="none published; cite the technical report",
    citation="A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images (technical report, 2009)",
    build=_cifar100,
    classes=100,
    columns={"image": image(SIDE, SIDE, 3), "fine": label(_NAMES["fine"]), "coarse": label(_NAMES["coarse"])},
    layouts=(
        Layout(
            (
                SourceFile(
                    _ARCHIVE,
                    "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
                    "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
                ),
            ),
            _read_archive,
            {"train": 50_000, "test": 10_000},
        ),
        Layout(
            (
                SourceFile("labels.npz", "14a09f15156aef9ca9489e9334f29bb5c0686c104e5a0096346e23f958fea030"),
                SourceFile("train_0.webp", "077014efccea085ea2f8774ad307539086a742050310165226162f12317671ac"),
                SourceFile("train_1.webp", "98816ed97974fec2d218b578c8d97f4ce128f037706b3fa8687c0c299bd83d19"),
                SourceFile("test_0.webp", "3ff37bf3c17772ffae120ca8abb44ea8d126a50d7d7ff78e845fc85c4ccc0188"),
            ),
            _read_subset,
            {"train": 5_000, "test": 1_000},
            "subset: 50 training and 10 test images of each fine class, the classes in turn",
        ),
    ),
    stock="cifar100",
    from_stock=from_stock({"fine": "label", "coarse": "coarse_label"}),
    obtain=f"the authors offer {_ARCHIVE} at https://www.cs.toronto.edu/~kriz/cifar.html",
)
