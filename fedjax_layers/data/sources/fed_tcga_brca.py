"""Fed-TCGA-BRCA: survival of breast-cancer patients in six regions, as FLamby prepared and split them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fedjax_layers.data.dataset import Dataset
from fedjax_layers.data.formats.text_files import Cells, classes, numbers, read_csv, table
from fedjax_layers.data.tables.columns import Tables, label, number
from fedjax_layers.data.tables.files import SourceFile
from fedjax_layers.data.tables.parts import take_parts
from fedjax_layers.data.tables.source import Layout, Source

REGIONS = ("Northeast", "South", "West", "Midwest", "Europe", "Canada")  # FLamby's centres 0 to 5
FEATURES = (
    "age_at_index", "ethnicity_not hispanic or latino", "ethnicity_not reported", "race_asian",
    "race_black or african american", "race_not reported", "race_white", "ajcc_pathologic_m_MX",
    "ajcc_pathologic_n_N0 (i-)", "ajcc_pathologic_n_N1", "ajcc_pathologic_n_N1a", "ajcc_pathologic_n_N2",
    "ajcc_pathologic_n_N2a", "ajcc_pathologic_stage_Stage IA", "ajcc_pathologic_stage_Stage IIA",
    "ajcc_pathologic_stage_Stage IIB", "ajcc_pathologic_stage_Stage IIIA", "ajcc_pathologic_stage_Stage IIIC",
    "ajcc_pathologic_t_T1c", "ajcc_pathologic_t_T2", "ajcc_pathologic_t_T3", "ajcc_staging_system_edition_5th",
    "ajcc_staging_system_edition_6th", "ajcc_staging_system_edition_7th", "icd_10_code_C50.9", "morphology_8500/3",
    "morphology_8520/3", "primary_diagnosis_Infiltrating duct carcinoma, NOS",
    "primary_diagnosis_Lobular carcinoma, NOS", "prior_malignancy_yes", "synchronous_malignancy_Not Reported",
    "treatment_or_therapy_not reported", "treatment_or_therapy_yes", "tumor_stage_stage i", "tumor_stage_stage ia",
    "tumor_stage_stage iia", "tumor_stage_stage iib", "tumor_stage_stage iiia", "tumor_stage_stage iiic",
)  # fmt: skip
_SITE = slice(5, 7)  # of a barcode like TCGA-E2-A9RU: the tissue source site
_SPLITS = ("train", "test")
_FOLDS = tuple(f"{split}_{region}" for split in _SPLITS for region in range(len(REGIONS)))


def _fed_tcga_brca(tables: Tables, provenance: str, *, split: str = "all") -> Dataset:
    """Make the set of 1,088 patients, ``[1088, 39]`` float32, and their survival ``[1088, 2]``: days, and 1 for death.

    Inputs are the age in years and 38 indicators of stage, morphology, treatment and demography, which FLamby
    (du Terrail et al. 2022) made from clinical data of The Cancer Genome Atlas. The natural clients are the regions of
    the hospitals. Of the 1,096 patients in the file, the eight that FLamby's split leaves out are left out.

    Args:
      tables: columns ``features``, ``days``, ``event`` and ``region``.
      provenance: line on the source of the data.
      split: official part: ``"train"`` (866), ``"test"`` (222) or ``"all"`` (train, then test).

    Raises:
      ValueError: an unknown split.
    """
    examples = take_parts(tables, split)
    return Dataset(
        name="fed_tcga_brca",
        inputs=examples.array("features"),
        labels=np.stack([examples.array("days"), examples.array("event")], axis=1).astype(np.float32),
        class_names=(),
        clients=examples.array("region").astype(np.int32),
        client_names=REGIONS,
        preprocess="standardise",
        source=provenance,
        licence=FED_TCGA_BRCA.licence,
        example_ids=examples.ids,
        task="survival",
        official_test=examples.official_test,
    )


def _read(files: Mapping[str, Path]) -> Tables:
    """Read the patients of both parts, each in the order of ``brca.csv``, as in FLamby."""
    path = files["brca.csv"]
    cells = read_csv(path, ("pid", *FEATURES, "E", "T"))
    row_of = {patient: row for row, patient in enumerate(cells["pid"])}
    features = table(path, cells, FEATURES)
    days = numbers(path, cells, "T").astype(np.float32)
    event = classes(path, cells, "E", ("0.0", "1.0"))
    places = _places(files, row_of)
    rows = np.array(list(places), np.int64)
    part, region = np.array(list(places.values()), np.int64).reshape(-1, 2).T
    tables = {}
    for k, split in enumerate(_SPLITS):
        mine = rows[part == k]
        columns = {"features": features[mine], "days": days[mine], "event": event[mine]}
        tables[split] = columns | {"region": region[part == k]}
    return tables


def _places(files: Mapping[str, Path], row_of: Mapping[str, int]) -> dict[int, tuple[int, int]]:
    """Return the rows of ``brca.csv`` in ascending order, each with its part (0 train, 1 test) and region."""
    path = files["train_test_split.csv"]
    cells = read_csv(path, ("pid", "fold", "fold2"))
    sites = _sites(files["centers.csv"])
    fold = classes(path, cells, "fold2", _FOLDS)
    found: dict[int, tuple[int, int]] = {}
    for line, (patient, named, both) in enumerate(zip(cells["pid"], cells["fold"], fold.tolist(), strict=True), 2):
        part, region = divmod(both, len(REGIONS))
        place = f"{path}, line {line}, column"
        if patient not in row_of:
            raise ValueError(f"{place} pid: expected a patient of brca.csv, found {patient!r}")
        if row_of[patient] in found:
            raise ValueError(f"{place} pid: expected each patient once, found {patient!r} again")
        if named != _SPLITS[part]:
            raise ValueError(f"{place} fold: expected {_SPLITS[part]}, as in fold2, found {named!r}")
        if sites.get(patient[_SITE]) != REGIONS[region]:
            home = sites.get(patient[_SITE])
            raise ValueError(f"{place} fold2: expected the region of centers.csv, {home}, found {REGIONS[region]}")
        found[row_of[patient]] = part, region
    return dict(sorted(found.items()))


def _sites(path: Path) -> dict[str, str]:
    """Read the region of each tissue source site."""
    cells: Cells = read_csv(path, ("TSS Code", "Source Site", "Country", "State", "Region"))
    return dict(zip(cells["TSS Code"], cells["Region"], strict=True))


FED_TCGA_BRCA = Source(
    name="fed_tcga_brca",
    title="breast-cancer survival, 39 features",
    task="survival",
    licence="open-access TCGA data under the GDC data access policy (no attempt to identify participants); "
    "preparation MIT (FLamby)",
    citation="J. Ogier du Terrail et al., FLamby (NeurIPS 2022), from The Cancer Genome Atlas, TCGA-BRCA",
    build=_fed_tcga_brca,
    clients="region",
    columns={
        "features": number("float32", len(FEATURES)),
        "days": number("float32"),
        "event": label(("censored", "death")),
        "region": label(REGIONS),
    },
    layouts=(
        Layout(
            (
                SourceFile("brca.csv", "07cb53423f7d579d33cfdbf2cba57b2aee75318b85866c68ce39a75b1f1ba020"),
                SourceFile("centers.csv", "d610df2dae0203ea229c9579747ed3eb8d28e137c5378f55acc6fe6b4632bb1d"),
                SourceFile("train_test_split.csv", "1249c6543a4060ff0fdaf8510fc37017755836db6c9fc5e6af96057c36510990"),
            ),
            _read,
            {"train": 866, "test": 222},
        ),
    ),
    obtain="the files are in github.com/owkin/FLamby under flamby/datasets/fed_tcga_brca, the last in "
    "dataset_creation_scripts",
)
