"""Trackers: what they are told, that they never harm a run, and that a resumed run goes on in the same place."""

import json
import sys
import types
import warnings

import numpy as np
import pytest

from fedjax_layers.engine.history.files import HistoryFiles
from fedjax_layers.engine.history.history import History
from fedjax_layers.experiment.config.run_config import RunConfig
from fedjax_layers.experiment.records.run_directory import RunDirectory
from fedjax_layers.experiment.run import execute
from fedjax_layers.experiment.setup.prepare import prepare
from fedjax_layers.experiment.tracking.choose import tracked, tracker_maker
from fedjax_layers.experiment.tracking.tracker import Tracking, summary_numbers
from tests.cli.command import assert_refused, cli

CONFIG = RunConfig(
    algorithm="fedavg", dataset="heart", model="logistic_regression", rounds=3, client_width="all", batch_size=128
)


class Double:
    """A tracker that notes its calls, and fails in one of them."""

    def __init__(self, fails=""):
        self.calls, self.fails = [], fails

    def _note(self, name, *told):
        self.calls.append((name, *told))
        if name == self.fails:
            raise OSError("no\nnetwork")

    def start(self, config):
        self._note("start", config)

    def log(self, round, metrics):  # noqa: A002
        self._note("log", round, metrics)

    def finish(self, summary):
        self._note("finish", summary)


@pytest.fixture(scope="module")
def experiment():
    return prepare(CONFIG)


@pytest.fixture(scope="module")
def run(experiment, tmp_path_factory):
    """A finished run, the calls of its tracker, and its summary."""
    directory, tracker = RunDirectory.create(tmp_path_factory.mktemp("runs") / "a", CONFIG), Double()
    summary, _ = execute(experiment, directory, track=tracker)
    return directory, tracker.calls, summary


def test_a_tracker_is_told_what_the_records_hold(run):
    directory, calls, summary = run
    assert [call[0] for call in calls] == ["start", "log", "log", "log", "finish"]
    assert calls[0][1] == directory.read("config")
    for (_, number, metrics), line in zip(calls[1:-1], directory.read_rounds(), strict=True):
        assert metrics == {name: x for name, x in line.items() if name != "round" and x is not None}
        assert number == line["round"]
    assert calls[-1][1] is summary


@pytest.mark.parametrize("fails", ["start", "log", "finish"])
def test_a_tracker_that_fails_is_one_warning_and_the_run_is_the_same(experiment, run, fails):
    tracker = Double(fails)
    with pytest.warns(UserWarning, match="^tracker Double: OSError: no network; the run goes on without it$") as told:
        summary, history = execute(experiment, track=tracker)
    assert len(told) == 1
    assert [call[0] for call in tracker.calls][-1] == fails, "it is told nothing more"
    assert summary["personal"] == run[2]["personal"]
    assert history.rounds_done == 3


def test_a_run_that_is_stopped_or_fails_ends_its_tracker(experiment):
    tracker = Double()
    execute(experiment, track=tracker, stop=lambda done: done == 1)
    assert tracker.calls[-1] == ("finish", {})
    tracker = Double()
    with pytest.raises(ZeroDivisionError), Tracking(tracker):
        raise ZeroDivisionError
    assert tracker.calls == [("finish", {})]


def test_a_listener_for_simulate_tells_what_its_history_holds(run):
    directory, calls, _ = run
    tracker, history = Double(), History.open(HistoryFiles(directory.history))
    with tracked(tracker, {"lr": np.float32(0.5)}) as listener:  # docs/terminal.md gives it to simulate
        assert not listener(3, None, history), "it does not end the run"
    assert tracker.calls[0] == ("start", {"lr": 0.5})
    assert tracker.calls[1] == calls[3]
    assert tracker.calls[-1][1]["round"] == 3


def test_tensorboard_files_hold_every_round_once(run, tmp_path):
    pytest.importorskip("tensorboardX")
    directory, calls, _ = run
    for rounds in ([1, 2], [2, 3]):  # round 2 is repeated after a checkpoint
        tracker = tracker_maker("tensorboard")(tmp_path)
        tracker.start(calls[0][1])
        for _, number, metrics in (call for call in calls[1:-1] if call[1] in rounds):
            tracker.log(number, metrics)
        tracker.finish(calls[-1][1])
    found, texts = events(tmp_path / "tensorboard")
    assert sorted(found["train_loss"]) == [1, 2, 3]
    for line in directory.read_rounds():
        assert found["trained/test/macro_f1"][line["round"]] == pytest.approx(line["trained/test/macro_f1"])
    assert '"algorithm": "fedavg"' in texts["config/text_summary"]
    assert "personal/macro_f1/mean" in texts["summary/text_summary"]


def events(folder):
    """The scalars by name and step, and the texts by name; a file that says so takes the place of earlier steps."""
    from tensorboardX.proto.event_pb2 import Event, SessionLog  # noqa: PLC0415
    from tensorboardX.record_writer import masked_crc32c  # noqa: PLC0415

    scalars, texts = {}, {}
    for path in sorted(folder.iterdir(), key=lambda path: (path.stat().st_mtime_ns, path.name)):
        data = path.read_bytes()
        while data:
            length = int.from_bytes(data[:8], "little")
            assert int.from_bytes(data[8:12], "little") == masked_crc32c(data[:8])
            event, data = Event.FromString(data[12 : 12 + length]), data[16 + length :]
            if event.session_log.status == SessionLog.SessionStatus.Value("START"):
                scalars = {name: {n: x for n, x in xs.items() if n < event.step} for name, xs in scalars.items()}
            for value in event.summary.value:
                if value.tensor.string_val:
                    texts[value.tag] = value.tensor.string_val[0].decode()
                else:
                    assert event.step not in scalars.setdefault(value.tag, {})
                    scalars[value.tag][event.step] = value.simple_value
    return scalars, texts


class Mlflow(types.ModuleType):
    """MLflow's functions, as its fluent interface has them."""

    def __init__(self):
        super().__init__("mlflow")
        self.calls = []

    def start_run(self, run_id=None, experiment_id=None, run_name=None, nested=False):
        self.calls.append(("start_run", run_id, run_name))
        return types.SimpleNamespace(info=types.SimpleNamespace(run_id=run_id or "0123abcd"))

    def log_params(self, params, synchronous=None):
        self.calls.append(("log_params", params))

    def log_metrics(self, metrics, step=None, synchronous=None):
        self.calls.append(("log_metrics", metrics, step))

    def end_run(self, status="FINISHED"):
        self.calls.append(("end_run", status))


def test_mlflow_is_called_as_it_is_documented(run, tmp_path, monkeypatch):
    _, calls, summary = run
    module = Mlflow()
    monkeypatch.setitem(sys.modules, "mlflow", module)
    follow(tracker_maker("mlflow")(tmp_path), calls, {})
    assert module.calls[0] == ("start_run", None, "fedavg-heart-seed-0")
    assert module.calls[1][1]["learning_rate"] == CONFIG.learning_rate
    assert module.calls[2] == ("log_metrics", calls[1][2], 1)
    assert module.calls[-1] == ("end_run", "KILLED")
    module.calls.clear()
    follow(tracker_maker("mlflow")(tmp_path), calls, summary)
    assert module.calls[0] == ("start_run", "0123abcd", None), "a resumed run is the same run"
    assert [call[0] for call in module.calls] == ["start_run", *["log_metrics"] * 4, "end_run"]
    assert module.calls[-2][1]["summary/personal/macro_f1/mean"] == summary["personal"]["macro_f1"]["mean"]
    assert module.calls[-1] == ("end_run", "FINISHED")


class Wandb(types.ModuleType):
    """The functions of Weights & Biases that are used, as documented."""

    def __init__(self):
        super().__init__("wandb")
        self.calls, self.summary = [], {}

    def init(self, entity=None, project=None, dir=None, id=None, name=None, config=None, mode=None, resume=None):  # noqa: A002
        self.calls.append(("init", project, id, resume, name, config["rounds"]))
        return types.SimpleNamespace(id=id or "w1", log=self.log, finish=self.finish, summary=self.summary)

    def log(self, data, step=None, commit=None):
        self.calls.append(("log", data, step))

    def finish(self, exit_code=None, quiet=None):
        self.calls.append(("finish", exit_code))


def test_wandb_is_called_as_it_is_documented(run, tmp_path, monkeypatch):
    _, calls, summary = run
    module = Wandb()
    monkeypatch.setitem(sys.modules, "wandb", module)
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    follow(tracker_maker("wandb")(tmp_path), calls, {})
    assert module.calls[0] == ("init", "mine", None, "allow", "fedavg-heart-seed-0", 3)
    assert module.calls[1] == ("log", calls[1][2], 1)
    assert module.calls[-1] == ("finish", 1)
    module.calls.clear()
    monkeypatch.delenv("WANDB_PROJECT")
    follow(tracker_maker("wandb")(tmp_path), calls, summary)
    assert module.calls[0][:4] == ("init", "fedjax-layers", "w1", "allow")
    assert module.calls[-1] == ("finish", 0)
    assert module.summary["summary/rounds"] == 3


def follow(tracker, calls, summary):
    tracker.start(calls[0][1])
    for _, number, metrics in calls[1:-1]:
        tracker.log(number, metrics)
    tracker.finish(summary)


def test_numbers_of_a_summary():
    nested = {"a": {"b": 1, "c": None, "d": {"e": 2.5}}, "f": "text", "g": True, "h": float("nan"), "i": np.float32(3)}
    assert summary_numbers(nested, "x/") == {"x/a/b": 1, "x/a/d/e": 2.5, "x/i": 3}


def test_the_command_line_takes_a_tracker_of_ones_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_tracker.py").write_text(
        "class Lines:\n"
        "    def __init__(self, folder):\n        self.file = folder / 'lines.txt'\n"
        "    def _add(self, *told):\n        with self.file.open('a') as file:\n            print(*told, file=file)\n"
        "    def start(self, config):\n        self._add('start', config['algorithm'])\n"
        "    def log(self, round, metrics):\n        self._add('log', round)\n"
        "    def finish(self, summary):\n        self._add('finish', summary['rounds'])\n"
        "def broken(folder):\n    raise RuntimeError('down')\n"
    )
    flags = [
        "--dataset",
        "heart",
        "--model",
        "logistic_regression",
        "--rounds",
        "3",
        "--batch-size",
        "128",
        "--client-width",
        "all",
    ]
    outcome = cli("run", "fedavg", *flags, "--track", "own_tracker:Lines", "--out", "a")
    assert (outcome.code, outcome.err) == (0, "")
    assert (tmp_path / "a" / "lines.txt").read_text().split("\n")[:-1] == [
        "start fedavg", "log 1", "log 2", "log 3", "finish 3",
    ]  # fmt: skip
    assert "track" not in json.loads((tmp_path / "a" / "config.json").read_text())
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        broken = cli("run", "fedavg", *flags, "--track", "own_tracker:broken", "--out", "b")
    assert broken.code == 0
    assert broken.err == "warning: tracker own_tracker:broken: RuntimeError: down; the run goes on without it\n"
    for name, told in {
        "own_tracker:Nothing": "that can be imported, got 'own_tracker:Nothing' (AttributeError: ",
        "no_such_module:f": "(ModuleNotFoundError: ",
        "tensorbord": "did you mean 'tensorboard'?",
    }.items():
        assert_refused(cli("run", "fedavg", *flags, "--track", name, "--out", "c"), "--track: expected ", told)
    assert not (tmp_path / "c").exists()
    assert_refused(cli("sweep", "fedavg", "--vary", "seed=1", "--track", "wandb"), "--track: expected none for sweep")


def test_a_missing_package_is_named_before_the_run(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    monkeypatch.delitem(sys.modules, "mlflow")
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *_: None)
    with pytest.raises(ValueError, match=r"^track: expected the package mlflow for mlflow, found none; pip install"):
        tracker_maker("mlflow")
