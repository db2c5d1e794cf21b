"""The rows of an experiment outlive the process that wrote them."""

from experiments.harness import Rows


def test_rows_go_on_after_a_crash_in_the_middle_of_one(tmp_path):
    rows = Rows(tmp_path)
    rows.get({"seed": 0}, lambda: {"score": 0.5})
    rows.get({"seed": 1}, lambda: {"score": 0.25})
    whole = (tmp_path / "rows.jsonl").read_bytes()
    (tmp_path / "rows.jsonl").write_bytes(whole[:-5])
    again = Rows(tmp_path)
    assert [row["seed"] for row in again.rows] == [0]
    again.get({"seed": 1}, lambda: {"score": 0.25})
    assert (tmp_path / "rows.jsonl").read_bytes() == whole
