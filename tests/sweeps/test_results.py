"""A sweep's folder: rows at once, the same sweep only, parts joined."""

import errno
import json
import os
import shutil

import pyarrow.parquet as pq
import pytest
from pyarrow import csv

from fedjax_layers.experiment.config.named_options import with_setting
from fedjax_layers.experiment.config.run_config import RunConfig
from fedjax_layers.experiment.records.run_directory import RunDirectory
from fedjax_layers.storage import StorageError
from fedjax_layers.sweeps.configs import swept_runs
from fedjax_layers.sweeps.request import Shard, SweepRequest
from fedjax_layers.sweeps.results import SweepFolder, merge, sweep_config


def runs_of(rates=(0.1, 0.2, 0.3), seeds=(0,)):
    base = RunConfig(algorithm="fedavg", dataset="heart")
    request = SweepRequest([{"learning_rate": rate} for rate in rates], seeds)
    return swept_runs(request, lambda setting: with_setting(base, setting))


def create(path, runs, options, shard=Shard(), *, resume=False):
    return SweepFolder.create(path, sweep_config(runs, options, shard), resume=resume)


def row(number, **more):
    scores = dict.fromkeys(("personal/val/macro_f1", "personal/test/macro_f1", "personal/test/macro_f1/n"), number)
    return {"run": number, "learning_rate": 0.1 * number, "why": "finished", "rounds": 3} | scores | more


def test_rows_outlive_their_process_and_are_stored_once(tmp_path):
    store = create(tmp_path, runs_of(), {"rungs": []})
    store.append([row(0), row(2, score=float("nan"))])
    store.append([row(2, score=1.0)])
    again = create(tmp_path, runs_of(), {"rungs": []}, resume=True)
    assert again.rows == {0: row(0), 2: row(2, score=None)}
    assert len((tmp_path / "rows.jsonl").read_text().splitlines()) == 2


def test_a_line_cut_short_is_dropped(tmp_path):
    store = create(tmp_path, runs_of(), {})
    store.append([row(0), row(1)])
    path = tmp_path / "rows.jsonl"
    path.write_bytes(path.read_bytes()[:-3])
    again = create(tmp_path, runs_of(), {}, resume=True)
    assert list(again.rows) == [0]
    again.append([row(1)])
    assert [json.loads(line)["run"] for line in path.read_text().splitlines()] == [0, 1]


def test_a_full_disk_is_one_line_and_earlier_rows_stay(tmp_path, monkeypatch):
    store = create(tmp_path, runs_of(), {})
    store.append([row(0)])

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StorageError, match=r"rows.jsonl: cannot be written: No space left on device; what was"):
            store.append([row(1)])
        with pytest.raises(StorageError, match=r"results.csv: cannot be written: No space left on device; what was"):
            store.finish(["learning_rate"])
    again = create(tmp_path, runs_of(), {}, resume=True)
    assert again.rows[0] == row(0)
    assert not list(tmp_path.glob(".*.tmp"))


def test_the_table_is_in_the_order_of_the_grid_with_its_types(tmp_path):
    store = create(tmp_path, runs_of(), {})
    store.append([row(2, score=1, model="mlp", hidden=[8]), row(0, score=0.5, model=None, hidden=4)])
    store.append([row(1)])
    ranking = store.finish(["learning_rate"])
    assert [line["learning_rate"] for line in ranking] == [0.2, 0.1, 0.0]
    assert [r["run"] for r in store.ordered_rows] == [0, 1, 2]
    for table in (csv.read_csv(tmp_path / "results.csv"), pq.read_table(tmp_path / "results.parquet")):
        assert table["run"].to_pylist() == [0, 1, 2]
        assert table["score"].to_pylist() == [0.5, None, 1.0]
        assert [x or None for x in table["model"].to_pylist()] == [None, None, "mlp"]
    assert table["hidden"].to_pylist() == ["4", None, "[8]"]
    assert RunDirectory(tmp_path).read("summary") == {"varied": ["learning_rate"], "ranking": ranking}


def test_what_earlier_starts_chose_is_kept(tmp_path):
    store = create(tmp_path, runs_of(), {})
    assert store.programs == {}
    store.note_programs({"a": {"width": 8}})
    store.note_programs({"b": {"width": 1}})
    assert SweepFolder(tmp_path).programs == {"a": {"width": 8}, "b": {"width": 1}}


@pytest.mark.parametrize(
    ("runs", "options", "message"),
    [
        (runs_of((0.1, 0.2, 0.4)), {}, "cannot resume, field 'runs.2.setting.learning_rate' differs: .* 0.3, .* 0.4"),
        (runs_of((0.1, 0.2)), {}, "cannot resume, field 'size' differs"),
        (runs_of(), {"width": 2}, "cannot resume, field 'options.width' differs"),
    ],
)
def test_another_sweep_is_refused_and_nothing_lost(tmp_path, runs, options, message):
    create(tmp_path, runs_of(), {}).append([row(0)])
    before = (tmp_path / "rows.jsonl").read_bytes()
    with pytest.raises(ValueError, match=message):
        create(tmp_path, runs, options, resume=True)
    with pytest.raises(ValueError, match="the folder is not empty"):
        create(tmp_path, runs_of(), {})
    assert (tmp_path / "rows.jsonl").read_bytes() == before


@pytest.mark.parametrize(("number", "parts"), [(7, 3), (3, 3), (10, 4), (5, 1)])
def test_parts_are_even_follow_each_other_and_are_all(number, parts):
    runs = runs_of([0.1 + i for i in range(number)])
    shares = [Shard(i, parts).own(runs) for i in range(parts)]
    assert [run.number for share in shares for run in share] == list(range(number))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_parts_joined_are_the_whole(tmp_path):
    runs = runs_of()
    for i in range(3):
        store = create(tmp_path / str(i), runs, {}, Shard(i, 3))
        store.append([row(run.number) for run in Shard(i, 3).own(runs)])
        store.note_programs({"kind": {"width": i}})
    whole = merge([tmp_path / str(i) for i in (2, 0, 1)], tmp_path / "whole")
    assert [whole.rows[n] for n in range(3)] == [row(n) for n in range(3)]
    assert whole.programs["part 1"] == {"kind": {"width": 1}}
    assert create(tmp_path / "whole", runs, {}, resume=True).rows == whole.rows


def test_parts_that_disagree_about_a_run_are_refused(tmp_path):
    runs = runs_of()
    for name, changes in (("a", {}), ("b", {"steps": 7})):
        create(tmp_path / name, runs, {}).append([row(0), row(1) | changes, row(2)])
    with pytest.raises(ValueError, match=r"expected one result of run 1, found two: steps is .* in .*a and 7 in"):
        merge([tmp_path / "a", tmp_path / "b"], tmp_path / "whole")
    assert not (tmp_path / "whole").exists()
    shutil.copytree(tmp_path / "a", tmp_path / "copy")
    assert merge([tmp_path / "a", tmp_path / "copy"], tmp_path / "whole").rows[1] == row(1)


def test_parts_that_do_not_fit_are_refused(tmp_path):
    runs = runs_of()
    create(tmp_path / "a", runs, {}, Shard(0, 3)).append([row(0)])
    create(tmp_path / "b", runs_of((0.1, 0.2, 0.4)), {}, Shard(1, 3)).append([row(1)])
    RunDirectory.create(tmp_path / "c", {"a": 1})
    for parts, message in (
        ([], "parts: expected at least one folder, got none"),
        (["a"], "parts: expected all 3 runs, 2 are missing, the first of them is run 1"),
        (["a", "b"], "expected a part of the sweep in .*a, found another sweep"),
        (["a", "c"], "c: expected the folder of a sweep, found another run"),
        (["a", "d"], "d: not a run directory"),
        (["a", "a"], "parts: expected each folder once, got .*a twice"),
        (["a", "../" + tmp_path.name + "/a"], "parts: expected each folder once, got .*a twice"),
    ):
        with pytest.raises(ValueError, match=message):
            merge([tmp_path / part for part in parts], tmp_path / "whole")
    assert not (tmp_path / "whole").exists()
