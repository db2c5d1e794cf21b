"""The most memory that this process and its devices have held."""

import subprocess
import sys

import jax

from fedjax_layers.engine.memory import process


def test_peak_memory_sees_what_was_held_and_not_the_parent():
    program = (
        "from fedjax_layers.engine.memory.process import peak_memory_bytes\n"
        "before = peak_memory_bytes()\n"
        "x = bytearray(b'x') * 200_000_000\n"
        "del x\n"
        "print(before, peak_memory_bytes())\n"
    )
    ballast = bytearray(b"x") * 600_000_000
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)
    assert len(ballast) == 600_000_000
    before, after = map(int, done.stdout.split())
    assert before < 550_000_000
    assert after - before > 100_000_000


def test_peak_memory_is_in_bytes_on_every_platform(monkeypatch):
    usage = type("usage", (), {"ru_maxrss": 3000})
    monkeypatch.setattr(process.resource, "getrusage", lambda who: usage)
    for platform, factor in (("darwin", 1), ("freebsd14", 1024)):
        monkeypatch.setattr(process.sys, "platform", platform)
        assert process.peak_memory()["host"] == 3000 * factor


def test_peak_memory_is_the_larger_of_host_and_devices(monkeypatch):
    class Device:
        def __init__(self, stats):
            self.memory_stats = lambda: stats

    devices = [
        Device({"peak_bytes_in_use": 1 << 50}),
        Device({"peak_bytes_in_use": 5}),
        Device(None),
        Device({}),
    ]
    assert process.peak_memory()["device"] is None or jax.default_backend() != "cpu"
    monkeypatch.setattr(jax, "local_devices", lambda: devices)
    assert process.peak_memory()["device"] == (1 << 50) + 5
    assert process.peak_memory_bytes() == (1 << 50) + 5
    monkeypatch.setattr(jax, "local_devices", lambda: devices[1:])
    assert process.peak_memory_bytes() == process.peak_memory()["host"] > 5
