"""Free memory: the machine's, and what every control group around the process leaves."""

import pytest

from fedjax_layers.host_memory import free_host_memory, rounded_down, spoken

MEMINFO = "MemTotal: 100 kB\nMemFree: 1 kB\nMemAvailable: 50 kB\n"


@pytest.fixture
def machine(tmp_path):
    """A function that writes a machine: ``(cgroup lines, {file under the groups' folder: text})``."""

    def write(lines, files, meminfo=MEMINFO):
        proc, groups = tmp_path / "proc", tmp_path / "groups"
        (proc / "self").mkdir(parents=True)
        if meminfo:
            (proc / "meminfo").write_text(meminfo)
        (proc / "self" / "cgroup").write_text(lines)
        for name, text in files.items():
            (groups / name).parent.mkdir(parents=True, exist_ok=True)
            (groups / name).write_text(f"{text}\n")
        return free_host_memory(proc, groups)

    return write


def test_without_groups_it_is_what_the_machine_has(machine):
    assert machine("", {}) == 50 * 1024


def test_a_limit_of_version_2_counts_without_pages_that_can_be_dropped(machine):
    files = {"a/b/memory.max": 30_000, "a/b/memory.current": 20_000, "a/b/memory.stat": "anon 1\ninactive_file 5000"}
    assert machine("0::/a/b\n", files) == 15_000


def test_the_tightest_group_above_counts_too(machine):
    files = {"a/b/memory.max": "max", "a/b/memory.current": 20_000, "a/memory.max": 21_000, "a/memory.current": 20_500}
    assert machine("0::/a/b\n", files) == 500


def test_a_limit_of_version_1(machine):
    files = {
        "memory/box/memory.limit_in_bytes": 40_000,
        "memory/box/memory.usage_in_bytes": 30_000,
        "memory/box/memory.stat": "inactive_file 1\ntotal_inactive_file 2000",
        "cpu/box/memory.limit_in_bytes": 1,
    }
    assert machine("5:cpu,cpuacct:/box\n4:memory:/box\n0::/\n", files) == 12_000


def test_in_a_container_the_groups_own_folder_is_the_root(machine):
    assert machine("0::/far/away\n", {"memory.max": 30_000, "memory.current": 29_000}) == 1000


def test_a_group_beyond_its_limit_leaves_nothing(machine):
    assert machine("0::/\n", {"memory.max": 10, "memory.current": 11}) == 0


def test_nobody_tells(machine):
    assert machine("", {}, meminfo="") is None


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 bytes"), (980, "980 bytes"), (999.7, "1 kB"), (5_934_000_000, "5.93 GB"), (4e15, "4 PB")],
)
def test_bytes_are_said_in_three_digits(size, text):
    assert spoken(size) == text


@pytest.mark.parametrize(("number", "shown"), [(0.9, 0), (1, 1), (37.9, 37), (123.4, 120), (189_999, 180_000), (-5, 0)])
def test_numbers_that_would_fit_are_rounded_down(number, shown):
    assert rounded_down(number) == shown
