"""Bad input is exit code 2 and one line that names it; a bug of our own is neither."""

import json
import struct

import pytest

from fedjax_layers.cli import run as run_command
from fedjax_layers.experiment.config.run_config import RunConfig
from fedjax_layers.experiment.records.run_directory import RunDirectory
from tests.cli.command import assert_refused, cli, contents

HEART = "--dataset heart --rounds 1 --client-width all"

BAD = [
    ("run fedavgg", "algorithm: ", "did you mean 'fedavg'?"),
    ("run fedavg --dataset hart", "--dataset: ", "did you mean 'heart'?"),
    (f"run fedavg {HEART} --model heart_mpl", "model: ", "did you mean 'heart_mlp'?"),
    ("run fedavg --partition dirichle", "partition: ", "did you mean 'dirichlet'?"),
    ("run fedavg --learning-rte 3", "flag: ", "did you mean '--learning-rate'?"),
    ("run --algorithm fedavg", "flag: ", "`fedjax-layers run player_fl --help` lists, got '--algorithm'"),
    (
        "run fedavg --dataset heart --zzz 3",
        "flag: ",
        "`fedjax-layers run fedavg --dataset heart --help` lists, got '--zzz'",
    ),
    ("run player_fl --treshold 3", "flag: ", "did you mean '--threshold'?"),
    ("run fedavg --mu 3", "--mu: ", "an option of algorithms fedprox, fedtlu, "),
    ("run fedavg --sort 3", "flag: ", "got '--sort'"),
    ("run fedavg --tokens word", "--tokens: ", "sent140 and 6 more, not of data set digits"),
    ("run fedavg --classes 3", "--classes: ", "permfl and pfedla_1, not of data set digits or partition dirichlet"),
    ("run fedavg --heads 3", "--heads: ", "an option of model transformer, not of model cnn"),
    ("run hsgd --size-ratio 3", "--size-ratio: ", "not of a run without --team-formation"),
    (
        "run fedavg --degrees 9",
        "--degrees: ",
        "an option of feature shift rotation, not of a run without --feature-shift",
    ),
    ("compare fedavg,fedprox --fedprx.mu 3", "algorithm: ", "did you mean 'fedprox'?"),
    (f"run fedavg {HEART} --hiden 3", "flag: ", "did you mean '--hidden'?"),
    ("run fedavg --rounds three", "argument --rounds: ", "'three'"),
    ("run fedavg --rounds 0", "rounds: ", "at least 1, got 0"),
    (f"run fedavg {HEART} --cohort 5", "cohort: ", "expected 1 to 4 clients, the population, got 5"),
    (f"run fedavg {HEART} --cohort 0", "cohort: ", "expected at least 1, got 0"),
    ("run fedavg --alpha 0", "alpha: ", "expected a positive, finite number, got 0"),
    ("run fedavg --alpha -0.5", "alpha: ", "expected a positive, finite number, got -0.5"),
    ("run fedavg --alpha lots", "--alpha: ", "expected a number, got 'lots'"),
    (f"run player_fl {HEART} --threshold nan", "--threshold: ", "expected a finite number"),
    (f"run fedprox {HEART} --mu -1", "--mu: ", "expected at least 0, got -1"),
    (f"run player_fl {HEART} --combine elemnts", "--combine: ", "did you mean 'elements'?"),
    (f"run fedper {HEART} --personal-layers 9", "--personal-layers: ", "at most the model's 4 layers, got 9"),
    (f"run fedtlu {HEART} --k 3", "k: ", "expected 0 to 2, the blocks that compete, got 3"),
    (f"run random_layers {HEART} --k -1", "k: ", "got -1"),
    (f"run fedtlu {HEART} --choice scores", "--choice: ", "did you mean 'score'?"),
    (f"run fedavg {HEART} --init-from none.safetensors", "--init-from: ", "found none at none.safetensors"),
    (f"run fedavg {HEART} --reserved", "reserve: ", "expected a share above 0 with reserved=True, got 0"),
    (f"run fedavg {HEART} --attack noise --attack-blocks Dense_9", "--attack-blocks: ", "did you mean 'Dense_"),
    (f"run fedavg {HEART} --attack backdoor", "backdoor: ", "expected classified images"),
    ("run fedavg --attack backdoor --attack-target 10", "target: ", "expected a class of digits, 0 to 9, got 10"),
    (f"run pfedla {HEART} --attack alie", "attack: ", "pfedla, in which no rule can take the place of a mean"),
    (f"run fedavg {HEART} --aggregate krum", "--aggregate-bad: ", "expected at most 0, got 1; krum needs 2 * bad + 3"),
    ("run fednova+scaffold", "objective: ", "got 'scaffold' with fednova"),
    ("run player_fl+nonsense", "objective: ", "expected one of ditto, fedprox, scaffold, got 'nonsense'"),
    ("run player_fl --sharing fedtlu", "--sharing: ", "expected none beside player_fl"),
    (f"sweep {HEART} --vary objective=fedprox,ditto", "--vary objective: ", "expected --vary algorithm=player_fl,"),
    (f"sweep {HEART} --vary algorithm=fedavg,ditto --objective fedprox", "--objective: ", "none beside ditto"),
    ("run ditto --objective fedprox", "--objective: ", "expected none beside ditto"),
    (f"run fedit {HEART} --low-rank 2 --low-rank-targets (", "--low-rank-targets: ", "expected regular expressions"),
    (f"run scaffold {HEART} --optimizer adam", "--optimizer: ", "expected one with a fixed step"),
    (f"run player_fl+scaffold {HEART} --weighting uniform --dp-noise 1", "--dp-noise: ", "expected none for scaffold"),
    (f"run pfedla {HEART} --aggregate krum", "aggregate: ", "pfedla, in which no rule can take the place of a mean"),
    ("pretrain --cohort 3", "--cohort: ", "expected none for pretrain, got 3"),
    (f"run local {HEART} --server-optimizer adam", "--server-optimizer: ", "expected none for local"),
    (f"run fedavg {HEART} --resume", "--resume: ", "expected --out"),
    (
        "run fedavg --dataset mnist --data-dir missing",
        "--data-dir: ",
        "expected something at missing, found nothing",
    ),
    ("run fedavg --dataset mnist --data-dir .", "--data-dir: ", "found neither"),
    ("run fedavg --dataset mnist", "--data-dir: ", "found neither"),
    ("run fedavg --clients 50 --alpha 0.001 --min-size 0", "the partition: ", "a training example for each client"),
    ("run fedavg --clients 9999", "--clients: ", "expected 1..1797"),
    (f"compare fedavg,local {HEART} --seeds 0", "--seeds: ", "expected at least 1, got 0"),
    (f"compare fedavg,local,fedavg {HEART}", "algorithms: ", "expected different names"),
    (f"compare fedavg,locl {HEART}", "algorithm: ", "did you mean 'local'?"),
    (f"compare , {HEART}", "algorithms: ", "separated by commas"),
    (f"compare local,fedper {HEART} --fedper.personal-layers 9", "--fedper.personal-layers: ", "at most"),
    (f"compare local,player_fl {HEART} --player-fl.fixed-cut 1 --player-fl.random-prefix", "fixed_cut", "at most one"),
    (f"run fedavg {HEART} --hidden wide", "--hidden: ", "expected a list, each a whole number, got 'wide'"),
    (f"run fedavg {HEART} --hidden 8,0", "--hidden: ", "expected at least 1"),
    ("run fedavg --kernel-size 2.5", "--kernel-size: ", "expected a whole number, got 2.5"),
    (f"run fedavg {HEART} --seed -1", "seed: ", "expected 0 to 4294967295, got -1"),
    (f"run fedavg {HEART} --loss focal --focal-alpha 1,2", "alpha: ", "expected 5 entries, got 2"),
    (f"run fedavg {HEART} --drift class_swp@1", "drift: ", "did you mean 'class_swap'?"),
    (f"run fedavg {HEART} --drift class_swap", "drift: ", "expected name@round or name@round:share, got 'class_swap'"),
    (f"run fedavg {HEART} --drift class_swap@1", "drift: ", "expected rounds below the run's 1, got 'class_swap@1'"),
    (f"run fedavg {HEART} --unseen 4", "unseen: ", "expected 0..3 clients, got 4"),
    (f"run fedavg {HEART} --unseen 0,4", "unseen: ", "expected client ids 0..3, got [0, 4]"),
    (f"run fedavg {HEART} --unseen 1 --cohort 4", "cohort: ", "expected 1 to 3 clients, the population, got 4"),
    (f"run fedavg {HEART} --global-test 1.5", "--global-test: ", "expected a share in (0, 1), got 1.5"),
    (f"run fedavg {HEART} --global-test official", "--global-test: ", "got heart without one"),
    (f"run fedavg {HEART} --duplicates drp", "--duplicates: ", "did you mean 'drop'?"),
    (
        f"run fedavg {HEART} --partition-file none.npz",
        "--partition-file: ",
        "found nothing",
    ),
    (f"run fedavg {HEART} --feature-shift noise", "--feature-shift: ", "expected images"),
    ("run fedavg --feature-shift rotate", "--feature-shift: ", "did you mean 'rotation'?"),
    ("frobnicate", "", "invalid choice: 'frobnicate'"),
]


@pytest.mark.parametrize(("line", "names", "tells"), BAD, ids=[line or "nothing" for line, *_ in BAD])
def test_bad_input_is_one_line_and_leaves_nothing(line, names, tells, tmp_path):
    assert_refused(cli(*line.split()), names, tells)
    assert list(tmp_path.iterdir()) == [], "nothing may be written"


@pytest.mark.parametrize("command", ["run fedavg", "compare fedavg,local"])
def test_a_folder_in_use_is_left_alone(tmp_path, command):
    (tmp_path / "mine" / "deep").mkdir(parents=True)
    (tmp_path / "mine" / "deep" / "notes.txt").write_text("mine")
    before = contents(tmp_path)
    for more in ([], ["--resume"]):
        assert_refused(cli(*command.split(), *HEART.split(), "--out", tmp_path / "mine", *more), "mine")
        assert contents(tmp_path) == before


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").write_text("mine")
    assert_refused(cli("run", "fedavg", *HEART.split(), "--out", "file"), "expected a folder, found a file")
    assert (tmp_path / "file").read_text() == "mine"


def test_another_config_cannot_be_resumed(tmp_path):
    config = RunConfig(algorithm="fedavg", dataset="heart", rounds=1, client_width="all", seed=1)
    RunDirectory.create(tmp_path / "run", config)
    before = contents(tmp_path)
    outcome = cli("run", "fedavg", *HEART.split(), "--seed", 2, "--out", "run", "--resume")
    assert_refused(outcome, "--seed: ", "expected none, or 1 as the run in run has it, got 2")
    assert contents(tmp_path) == before


@pytest.mark.parametrize("content", [b"", struct.pack(">IIII", 0x803, 60000, 28, 28) + bytes(1000)])
def test_a_damaged_file_is_named(tmp_path, content):
    folder = tmp_path / "data" / "mnist"
    folder.mkdir(parents=True)
    names = [f"{part}-{kind}-ubyte.gz" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")]
    for name in names:
        (folder / name).write_bytes(content)
    line = ["run", "fedavg", "--dataset", "mnist", "--data-dir", "data"]
    found = f"({len(content)} bytes)"
    assert_refused(cli(*line), "data/mnist/train-images-idx3-ubyte.gz: expected SHA-256 440fcabf", found)
    (folder / names[-1]).unlink()
    assert_refused(cli(*line), "--data-dir: expected in data/mnist the files t10k-labels-idx1-ubyte.gz (the other 3 of")


def test_a_start_that_does_not_fit_or_was_cut_short_is_named(tmp_path):
    saved = cli("run", "fedavg", *HEART.split(), "--save-model", "--out", "one")
    assert saved.code == 0
    start = tmp_path / "one" / "model.safetensors"
    line = ["run", "fedavg", *HEART.split(), "--init-from", start]
    wider = cli(*line, "--hidden", "50,30,20")
    assert_refused(wider, "expected 'Dense_1/bias' of shape (30,), got (20,)")
    start.write_bytes(start.read_bytes()[:-10])
    assert_refused(cli(*line), "model.safetensors: expected a whole safetensors file")


@pytest.mark.data
def test_a_tokenizer_without_a_number_for_a_word_is_named(data_dir, tmp_path):
    model = {"type": "WordLevel", "vocab": {"the": 0}, "unk_token": "<none>"}
    parts = dict.fromkeys(("truncation", "padding", "normalizer", "post_processor", "decoder"))
    spaces = {"type": "WhitespaceSplit"}
    content = {"version": "1.0", **parts, "added_tokens": [], "pre_tokenizer": spaces, "model": model}
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    line = ["run", "fedavg", "--dataset", "tiny_shakespeare", "--data-dir", data_dir, "--tokens", "tokenizer.json"]
    assert_refused(cli(*line), "tokenizer.json: expected a number for every token, got none for one of text 0")
    assert_refused(cli(*line[:-1], "none.json"), "none.json")


@pytest.mark.parametrize("error", [ValueError("a bug"), TypeError("a bug"), OSError("disk full")])
def test_an_error_of_the_run_itself_is_not_dressed_up(monkeypatch, error, tmp_path):
    def broken(*_, **__):
        raise error

    monkeypatch.setattr(run_command, "execute", broken)
    with pytest.raises(type(error), match=str(error)):
        cli("run", "fedavg", *HEART.split(), "--out", tmp_path / "run")


def test_a_bug_while_preparing_is_not_dressed_up(monkeypatch):
    def broken(*_, **__):
        raise TypeError("a bug")

    monkeypatch.setattr(run_command, "prepare", broken)
    with pytest.raises(TypeError, match="a bug"):
        cli("run", "fedavg", *HEART.split())


@pytest.mark.parametrize("run", [{}, {"algorithm": "local", "seed": [0]}, {"algorithm": ["local"], "seed": 0}])
def test_a_comparison_whose_runs_are_not_named_cannot_be_resumed(tmp_path, run):
    (tmp_path / "config.json").write_text(json.dumps({"runs": [run, run]}))
    assert_refused(cli("compare", "--out", tmp_path, "--resume"), "expected the runs of a comparison, found others")
