"""Workers that share the suite out must collect the same tests: no name may depend on the clock or on hashing."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

TESTS = Path(__file__).parent


def names(hash_seed):
    command = [sys.executable, "-m", "pytest", "--collect-only", "-n0", "-v", "-m", "not gpu", str(TESTS)]
    environment = os.environ | {"PYTHONHASHSEED": hash_seed}
    done = subprocess.run(command, env=environment, cwd=TESTS.parent, capture_output=True, text=True, check=True)
    return [line for line in done.stdout.splitlines() if re.match(r"\s*<", line)]


@pytest.mark.slow
def test_two_collections_name_the_same_tests():
    first = names("1")
    time.sleep(1.1)  # seconds are the unit of the times that archives carry
    assert len(first) > 4000
    assert names("2") == first
