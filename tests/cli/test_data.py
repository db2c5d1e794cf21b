"""``fedjax-layers data``: the table of data sets, preparing them, showing and saving how one is split."""

import re

import numpy as np
import pytest

from fedjax_layers.data import DATASETS, load
from fedjax_layers.data.catalog import markdown_table
from fedjax_layers.data.tables import builders
from fedjax_layers.experiment.records.run_directory import RunDirectory
from tests.cli.command import assert_refused, cli


@pytest.fixture
def regression(tmp_path):
    """An npz of a regression with two natural clients."""
    numbers = np.linspace(0, 1, 40, dtype=np.float32)
    np.savez(tmp_path / "line.npz", x=numbers[:, None], y=numbers, client=np.arange(40) % 2)
    return ["--path", tmp_path / "line.npz"]


def told(outcome):
    """What a successful command printed, with runs of spaces as one."""
    assert (outcome.code, outcome.err) == (0, "")
    return re.sub(r"\s+", " ", outcome.out)


def table_row(outcome, name):
    """Cells of one row of a printed table."""
    (line,) = (line for line in outcome.out.splitlines() if line.startswith(f" {name}"))
    return re.split(r"\s{2,}", line.strip())


def test_list_names_every_data_set_and_where_it_is(tmp_path):
    (tmp_path / "data").mkdir()
    outcome = cli("data", "list", "--data-dir", "data")
    text = told(outcome)
    for name in DATASETS:
        assert f" {name} " in text
    assert table_row(outcome, "digits ")[-1] == "generated"
    assert table_row(outcome, "heart ")[-1] == "package"
    assert table_row(outcome, "csv ")[-1] == "yours"
    assert table_row(outcome, "wikitext2 ")[-1] == "missing"
    assert "Data folder: data." in text


@pytest.mark.data
def test_list_finds_the_files(data_dir):
    outcome = cli("data", "list", "--data-dir", data_dir)
    assert table_row(outcome, "mnist ")[-1] == "files"


def test_list_as_markdown_is_the_table_of_the_documentation():
    outcome = cli("data", "list", "--markdown")
    assert outcome == (0, markdown_table() + "\n", "")


def test_show_counts_examples_by_client_and_split():
    outcome = cli("data", "show", "heart")
    text = told(outcome)
    assert "heart: 4 clients, 740 examples (train 470, val 120, test 150), 5 classes" in text
    assert table_row(outcome, "client 1 (hungarian)")[1:5] == ["166", "42", "53", "2"]
    assert "Examples per client: 46 to 303, median 196" in text
    assert "Copies (equal content, another id): 1;" in text
    assert f"Partition hash: {load('heart').partition_hash}" in text


def test_show_takes_the_flags_of_partition_and_data():
    line = "data show digits --partition two_level --teams 2 --clients 4 --min-size 5 --seed 3 --partition-seed 1"
    line += " --global-test 0.1 --unseen 1,2 --test-fraction 0.4"
    outcome = cli(*line.split())
    options = {"teams": 2, "min_size": 5, "global_test": 0.1, "unseen": (1, 2), "test_fraction": 0.4}
    data = load("digits", partition="two_level", clients=4, seed=1, **options)
    text = told(outcome)
    assert f"Partition hash: {data.partition_hash}" in text
    assert "global test 180" in text
    assert text.count(", unseen ") == 2
    assert "Partition: two_level {'teams': 2" in text


def test_show_lists_no_more_than_forty_clients():
    assert "client 39" in told(cli("data", "show", "digits", "--partition", "iid", "--clients", 40))
    assert "client 3" not in told(cli("data", "show", "digits", "--partition", "iid", "--clients", 41))


def test_show_of_what_is_no_classification(regression):
    text = told(cli("data", "show", "npz", *regression))
    assert "npz: 2 clients, 40 examples (train 24, val 8, test 8), 1 strata" in text
    assert "all (100%)" in text


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "starts"),
    [
        ("parkinsons", "parkinsons: 42 clients, 5,875 examples"),
        ("tiny_shakespeare", "tiny_shakespeare: "),
        ("ud_english_ewt", "ud_english_ewt: "),
    ],
)
def test_show_of_real_sets_of_other_tasks(data_dir, name, starts):
    text = told(cli("data", "show", name, "--data-dir", data_dir))
    assert text.startswith(starts)
    assert "strata" in text


def test_show_draws_and_saves(tmp_path):
    shown = cli("data", "show", "heart", "--plot", "split.png", "--save", "split.npz")
    assert "Picture: split.png" in told(shown)
    assert "--partition-file split.npz" in told(shown)
    assert (tmp_path / "split.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert load("heart", partition_file="split.npz").partition_hash == load("heart").partition_hash
    assert sorted(p.name for p in tmp_path.iterdir()) == ["split.npz", "split.png"]
    again = told(cli("data", "show", "heart", "--partition-file", "split.npz"))
    assert load("heart").partition_hash in again


RUN = "run fedavg --dataset digits --model logistic_regression --rounds 1 --batch-size 128 --client-width all"
SPLIT = "--clients 3 --alpha 0.4 --feature-shift noise --sigma 0.2 --global-test 0.1 --unseen 1 --split-seed 7"


@pytest.mark.slow
def test_a_run_given_a_partition_file_repeats_the_run_it_comes_from(tmp_path):
    """Owners, splits, the global test set, who is unseen and the noise all come from the file."""
    assert cli(*f"data show digits {SPLIT} --save split.npz".split()).code == 0
    assert cli(*f"{RUN} {SPLIT} --out first".split()).code == 0
    outcome = cli(*f"{RUN} --partition-file split.npz --out again".split())
    assert (outcome.code, outcome.err) == (0, "")
    first, again = RunDirectory(tmp_path / "first"), RunDirectory(tmp_path / "again")
    assert first.read("manifest")["partition_hash"] == again.read("manifest")["partition_hash"]
    scores, repeated = first.read_clients(), again.read_clients()
    assert scores.keys() == repeated.keys()
    for name, values in scores.items():
        assert values.tobytes() == repeated[name].tobytes(), name
    for field in ("personal", "global_test", "unseen"):
        assert first.read("summary")[field] == again.read("summary")[field]
    assert first.read("summary")["global_test"] is not None


def test_a_partition_file_of_other_data_or_beside_other_choices_is_refused(tmp_path):
    cli("data", "show", "heart", "--save", "split.npz")
    given = ["--partition-file", "split.npz"]
    assert_refused(cli(*RUN.split(), *given), "split.npz: expected a partition of digits, found one of heart")
    for choice, named in (("--clients 4", "clients=4"), ("--test-fraction 0.3", "test_fraction=0.3")):
        line = f"run fedavg --dataset heart {choice}".split()
        assert_refused(cli(*line, *given), "--partition-file: expected no other choice", named)
    (tmp_path / "split.npz").write_bytes((tmp_path / "split.npz").read_bytes()[:500])
    assert_refused(cli("data", "show", "heart", *given), "split.npz: expected a partition file, could not read one")


def test_a_regression_is_trained_and_compared_by_its_absolute_error(regression, tmp_path):
    few = ["--dataset", "npz", *regression, "--model", "logistic_regression", "--rounds", 2]
    outcome = cli("compare", "fedavg,local", *few, "--out", tmp_path / "both")
    assert outcome.code == 0
    header = next(line for line in outcome.out.splitlines() if "algorithm" in line)
    assert header.split()[1:4] == ["MAE", "R²", "loss"]
    summary = RunDirectory(tmp_path / "both/fedavg/seed-0").read("summary")
    assert set(summary["personal"]) == set(summary["pooled"]) == {"mae", "rmse", "r2", "loss"}
    assert RunDirectory(tmp_path / "both").read("summary")["metric"] == "mae"


def test_what_makes_no_sense_without_classes_is_refused(regression):
    own = ["--dataset", "npz", *regression]
    kind = "for the regression of npz, got"
    assert_refused(cli("run", "fedavg", *own, "--loss", "focal"), f"loss: expected huber or squared or absolute {kind}")
    assert_refused(cli("run", "fedavg", "--loss", "cox"), "loss: expected softmax or focal for the classification of")
    formation = ["--team-formation", "by_labels"]
    assert_refused(cli("run", "permfl", *own, *formation), "--team-formation: expected classes for 'by_labels'")


@pytest.mark.data
def test_what_is_prepared_is_found_and_split_alike(data_dir, tmp_path):
    text = told(cli("data", "prepare", "sentiment", "--data-dir", data_dir, "--out", tmp_path / "out"))
    assert "sentiment: train 3,000 examples in " in text
    assert f"Runs find them with --data-dir {tmp_path / 'out'}" in text
    assert (tmp_path / "out" / "federated_sentiment").is_dir()
    assert table_row(cli("data", "list", "--data-dir", tmp_path / "out"), "sentiment ")[-1] == "TFDS"
    first, second = (told(cli("data", "show", "sentiment", "--data-dir", d)) for d in (data_dir, tmp_path / "out"))
    assert first == second


def test_missing_files_are_fetched_unless_told_otherwise(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(builders, "download", lambda source, folder: asked.append((source.name, folder)))
    for flags in ([], ["--no-download"]):
        outcome = cli("data", "prepare", "cifar10", "--data-dir", tmp_path, "--out", tmp_path / "out", *flags)
        assert (outcome.code, outcome.err.count("\n")) == (2, 1)
        assert "cifar-10-binary.tar.gz" in outcome.err
        assert asked == [("cifar10", tmp_path)], "the first call asks, the second does not"


BAD = [
    ("data shw", "invalid choice: 'shw'", ""),
    ("data list digits", "unrecognized arguments: digits", ""),
    ("data list --all", "data list: ", "expected no further arguments, got '--all'"),
    ("data list --data-dir none", "--data-dir: ", "expected an existing folder, found none at none"),
    ("data prepare", "required: names", ""),
    ("data prepare sentimnt", "data set: ", "did you mean 'sentiment'?"),
    ("data prepare digits", "digits: ", "expected a data set with files to prepare, got one without"),
    ("data prepare heart --dowload", "data prepare: ", "got '--dowload'"),
    ("data show hart", "data set: ", "did you mean 'heart'?"),
    ("data show heart digits", "unrecognized arguments: digits", ""),
    ("data show mnist", "--data-dir: ", "found neither"),
    ("data show digits --partition dirichle", "partition: ", "did you mean 'dirichlet'?"),
    ("data show digits --alpah 1", "flag: ", "did you mean '--alpha'?"),
    ("data show digits --alpha 0", "alpha: ", "expected a positive, finite number, got 0"),
    ("data show digits --cohort 3", "unrecognized arguments: --cohort 3", ""),
    ("data show digits --channels 3", "data show: ", "expected flags of the data and their split, got --channels"),
    ("data show digits --clients 0", "clients: ", "expected at least 1, got 0"),
    ("data show digits --clients many", "argument --clients: ", "'many'"),
    ("data show digits --unseen 10", "unseen: ", "expected 0..9 clients, got 10"),
    ("data show digits --global-test 2", "--global-test: ", "expected a share in (0, 1), got 2.0"),
    ("data show digits --global-test official", "--global-test: ", "got digits without one"),
    ("data show digits --split-seed -1", "--split-seed: ", "expected 0 to 4294967295, got -1"),
    ("data show digits --plot none/split.png", "plot: ", "expected a folder none, found none"),
    ("data show digits --plot split.sgv", "plot: ", "'sgv' is not supported"),
    ("data show digits --save none/split.npz", "save: ", "expected a folder none, found none"),
    (
        "data show digits --partition-file none.npz",
        "--partition-file: ",
        "expected something at none.npz, found nothing",
    ),
]


@pytest.mark.parametrize(("line", "names", "tells"), BAD, ids=[line for line, *_ in BAD])
def test_bad_input_is_one_line_and_leaves_nothing(line, names, tells, tmp_path):
    assert_refused(cli(*line.split()), names, tells)
    assert list(tmp_path.iterdir()) == [], "nothing may be written"


def test_a_partition_file_is_not_overwritten_unless_asked(tmp_path):
    line = "data show digits --partition iid --save split.npz"
    assert cli(*line.split(), "--clients", 4).code == 0
    before = (tmp_path / "split.npz").read_bytes()
    assert_refused(cli(*line.split(), "--clients", 5), "--save: ", "found one at split.npz; --overwrite replaces it")
    assert (tmp_path / "split.npz").read_bytes() == before
    assert cli(*line.split(), "--clients", 5, "--overwrite").code == 0
    assert (tmp_path / "split.npz").read_bytes() != before
