"""Records that grow on disk: the scores that memory gives, written once, in bounded memory, cut where a run goes on."""

import shutil
import tracemalloc

import numpy as np
import pytest

from fedjax_layers.engine.history import history as history_module
from fedjax_layers.engine.history.client_statistics import best_round, last_round, select_rounds
from fedjax_layers.engine.history.columns import ColumnFiles
from fedjax_layers.engine.history.files import HistoryFiles
from fedjax_layers.engine.history.history import History
from fedjax_layers.storage import StorageError

C, S, E = 7, 3, 12
EVALUATED_MODELS = ("trained", "served", "team", "global")
SCORED_ROUNDS = ("last", "best")


def evaluation(rng, number, *, finished=False, clients=C):
    """Scores with gaps, ties and infinite losses; clients that were not there, come late or lack a split."""
    row = {"round": np.int64(number), "finished": np.bool_(finished)}
    row["examples"] = np.where(np.arange(clients) < 2, 0 if number < 4 else 5, 1 + np.arange(clients)).astype(np.int32)
    for scored_model in EVALUATED_MODELS:
        gone = rng.random(clients) < (0.5 if scored_model == "trained" else 0.02)
        gone |= finished and scored_model in ("team", "global")
        for split in ("val", "test"):
            nobody = gone | (np.arange(clients) == (3 if split == "val" else 5))
            for metric in ("loss", "accuracy"):
                values = rng.integers(1, 6, clients).astype(np.float32)
                values[rng.random(clients) < 0.1] = np.inf
                row[f"{scored_model}/{split}/{metric}"] = np.where(nobody, np.float32(np.nan), values)
        by_class = rng.random((clients, S), dtype=np.float32)
        row |= {
            f"{scored_model}/test/class_{name}": by_class + n for n, name in enumerate(("recall", "precision", "f1"))
        }
    row["pooled/test/accuracy"] = np.float32(number)
    row["pooled/test/class_recall"] = rng.random(S, dtype=np.float32)
    return row


def rounds(number, count=2):
    return {"loss": np.full(count, number, np.float32), "sent": np.full((count, 4), number, np.int32)}


def grow(history, seed=0, number=E):
    rng = np.random.default_rng(seed)
    for e in range(1, number + 1):
        history.add(rounds(e), evaluation(rng, 2 * e))
    history.add({}, evaluation(rng, 2 * number, finished=True))


def same(one, other):
    """Two histories answer alike, to the bit."""
    left, right = one.to_arrays(), other.to_arrays()
    for table, expected in left.items():
        assert expected.keys() == right[table].keys()
        for name, values in expected.items():
            found = right[table][name]
            assert (values.dtype, values.tobytes()) == (found.dtype, found.tobytes()), name
    for scored_model in EVALUATED_MODELS:
        assert one.row_of(scored_model, "best") == other.row_of(scored_model, "best")
        for scored_round in SCORED_ROUNDS:
            pairs = [(one.class_scores(scored_model, scored_round), other.class_scores(scored_model, scored_round))]
            pairs += [
                (one.scores(scored_model, scored_round, s), other.scores(scored_model, scored_round, s))
                for s in ("val", "test")
            ]
            for left, right in pairs:
                assert left.keys() == right.keys()
                assert all(left[name].tobytes() == right[name].tobytes() for name in left)


@pytest.fixture(params=[0, 600, 2**25], ids=["each at once", "a few", "when asked"])
def most_bytes(request, monkeypatch):
    """How much waits in memory before it is written."""
    monkeypatch.setattr(history_module, "_MOST_BYTES", request.param)


@pytest.mark.parametrize("seed", range(2))
def test_files_give_what_memory_gives(tmp_path, most_bytes, seed):
    memory, stored = History(), History(HistoryFiles(tmp_path))
    grow(memory, seed)
    grow(stored, seed)
    same(memory, stored)
    stored.flush()
    same(memory, stored)
    again = History.open(HistoryFiles(tmp_path))
    same(memory, again)
    for history in (stored, again):
        for name, values in history.latest.items():
            np.testing.assert_array_equal(values, memory.evaluations[name][-1])
        np.testing.assert_array_equal(
            np.stack(list(history.rows("served/val/loss", 3))), memory.evaluations["served/val/loss"][3:]
        )
        np.testing.assert_array_equal(history.row(4)["global/test/loss"], memory.evaluations["global/test/loss"][4])


@pytest.mark.parametrize("seed", range(6))
def test_asking_on_the_way_changes_nothing_and_each_answer_is_that_of_all_evaluations_so_far(seed):
    """The choice is kept while evaluations go by; here it is made anew from all of them each time."""
    history, rng = History(), np.random.default_rng(seed)
    for e in range(1, E + 1):
        history.add(rounds(e), evaluation(rng, 2 * e, finished=e == E))
        if rng.random() < 0.5 and e < E:
            continue
        table = history.evaluations
        for scored_model in EVALUATED_MODELS:
            val, test = (table[f"{scored_model}/{split}/loss"] for split in ("val", "test"))
            own = best_round(val)
            index = np.where(own < 0, last_round(test), own)
            if scored_model in ("team", "global"):
                there = ~table["finished"]
                weights, common = table["examples"][-1], ~np.isnan(val[there]).any(0)
                common &= weights > 0
                last = int(np.flatnonzero(there)[-1])
                best = int(np.argmin((val[there][:, common] * weights[common]).sum(1))) if common.any() else last
                index = np.full(C, best)
                assert history.round_of(scored_model, "best") == table["round"][best]
                assert history.round_of(scored_model, "last") == table["round"][last]
            for metric, values in history.scores(scored_model, "best").items():
                np.testing.assert_array_equal(values, select_rounds(table[f"{scored_model}/test/{metric}"], index))
            for name, values in history.class_scores(scored_model, "best").items():
                np.testing.assert_array_equal(values, select_rounds(table[f"{scored_model}/test/{name}"], index))


def test_each_number_is_written_once_and_what_is_there_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(history_module, "_MOST_BYTES", 0)
    history, rng = History(HistoryFiles(tmp_path)), np.random.default_rng(0)
    before, sizes = {}, []
    for e in range(1, 7):
        history.add(rounds(e), evaluation(rng, 2 * e))
        now = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
        assert {path: now[path] for path in before} == before
        sizes.append(sum(len(content) for content in now.values()) - sum(map(len, before.values())))
        before = now
    assert len(before) == 3 * 6
    assert max(sizes) < 1.02 * min(sizes)


def test_memory_does_not_grow_with_the_evaluations(tmp_path):
    """Twelve evaluations more must not hold even a part of another one."""
    clients = 20_000
    history, rng = History(HistoryFiles(tmp_path)), np.random.default_rng(0)
    row = evaluation(rng, 0, clients=clients)
    held = []
    tracemalloc.start()
    for e in range(1, 16):
        history.add(rounds(e), {name: x.copy() for name, x in row.items()} | {"round": np.int64(e)})
        history.flush()
        held.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert held[-1] - held[2] < sum(x.nbytes for x in row.values()) / 4
    assert history.evaluations["round"].tolist() == list(range(1, 16))


def stored(folder, flushes=(3, 5), number=8):
    """A history on disk whose evaluations 1 to 8, after two rounds each, and the last phase's lie in three files."""
    history, rng = History(HistoryFiles(folder)), np.random.default_rng(0)
    for e in range(1, number + 1):
        history.add(rounds(e), evaluation(rng, 2 * e))
        if e in flushes:
            history.flush()
    history.add({}, evaluation(rng, 2 * number, finished=True))
    history.flush()
    return history


@pytest.mark.parametrize(("done", "evaluated", "left"), [(0, 0, 0), (6, 6, 3), (8, 8, 4), (16, 16, 8), (16, 15, 7)])
def test_a_run_that_goes_on_cuts_what_lies_past_its_checkpoint(tmp_path, done, evaluated, left):
    """At the end of a file, inside one, everything; the last phase always, and an evaluation at which a run ended."""
    stored(tmp_path)
    (tmp_path / "clients" / ".000000009-000000010.parquet.77.tmp").write_bytes(b"PAR1")
    files = HistoryFiles(tmp_path)
    files.keep(done, evaluated)
    cut = History.open(files)
    assert cut.rounds_done == done
    assert len(cut.evaluations.get("round", ())) == left
    arrays = cut.to_arrays()
    rng = np.random.default_rng(0)
    for e in range(left):
        expected = evaluation(rng, 2 * (e + 1))
        for name, values in arrays["evaluations"].items():
            np.testing.assert_array_equal(values[e], expected[name])
    assert not list(tmp_path.rglob("*.tmp"))
    cut.add(rounds(9), evaluation(rng, 20))
    cut.flush()
    assert History.open(files).evaluations["round"].tolist() == [2 * e for e in range(1, left + 1)] + [20]


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "lost", ["clients/000000003-000000005.parquet", "evaluations/000000000-000000003.parquet", "rounds", "."]
)
def test_records_that_are_missing_are_one_line_and_nothing_is_dropped(tmp_path, lost):
    stored(tmp_path / "history")
    path = tmp_path / "history" / lost
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    before = contents(tmp_path)
    with pytest.raises(StorageError, match="expected the records of 10 rounds") as caught:
        HistoryFiles(tmp_path / "history").keep(10, 10)
    assert "\n" not in str(caught.value)
    assert contents(tmp_path) == before


def test_a_damaged_file_is_one_line_that_names_it(tmp_path):
    stored(tmp_path)
    path = tmp_path / "clients" / "000000000-000000003.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    files = HistoryFiles(tmp_path)
    files.keep(10, 10)
    with pytest.raises(StorageError, match=f"{path}: expected a file that can be read") as caught:
        History.open(files)
    assert "\n" not in str(caught.value)


def test_columns_come_back_as_they_were(tmp_path):
    """Of every kind of number and of more axes."""
    rng = np.random.default_rng(0)
    kinds = (np.float32, np.float64, np.float16, np.int32, np.int64, np.bool_)
    columns = {np.dtype(kind).name: rng.integers(0, 2, (6, 2, 3)).astype(kind) for kind in kinds}
    columns["few"] = rng.random((6, 3))
    columns["few"][2] = np.nan, np.inf, -0.0
    files = ColumnFiles(tmp_path)
    files.append(columns, 0, 2)
    files.append({name: x[:3] for name, x in columns.items()}, 2, 1)
    ((count, found), (_, more)) = files.read()
    assert (count, files.count) == (2, 3)
    for name, values in columns.items():
        assert (found[name].dtype, found[name].tobytes()) == (values.dtype, values.tobytes())
        assert more[name].tobytes() == values[:3].tobytes()
    ((_, late),) = files.read(["few"], 2)
    assert list(late) == ["few"]
    ((count, half), _) = files.read(["few"], 1)
    assert (count, half["few"].tobytes()) == (1, columns["few"][3:].tobytes())
