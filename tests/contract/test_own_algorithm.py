"""The contract and an oracle for an algorithm of a user's own file, without a change to the package or its tests."""

import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
ORACLE = """

def oracle(base):
    class Rotating(base):
        def __init__(self, *args, layers, **kw):
            super().__init__(*args, **kw)
            self.layers, self.turn = layers, 0
            self.shared = self.mask()

        def mask(self):
            return [(layer - self.turn) % 3 < self.layers for layer in range(3)]

        def round(self, cohort):
            results = super().round(cohort)
            self.turn += bool(cohort)
            self.shared = self.mask()
            return results

    return Rotating, {"layers": 2}, {"layers": WRONG}
"""


def contract(path, *selection):
    command = [sys.executable, "-m", "pytest", "-n0", "-p", "no:cacheprovider", "--algorithm-file", str(path)]
    done = subprocess.run([*command, *selection], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


@pytest.mark.slow
def test_the_documentation_s_example_passes_the_contract_and_agrees_with_its_oracle(tmp_path):
    page = (ROOT / "docs/adding_an_algorithm.md").read_text(encoding="utf-8")
    code = re.search(r"```python\n(.*?)```", page, re.DOTALL)[1]
    path = tmp_path / "rotating.py"
    path.write_text(code + ORACLE.replace("WRONG", "2"), encoding="utf-8")
    files = ("tests/contract/test_contract.py", "tests/contract/test_oracles.py")
    code_of_exit, said = contract(path, *files, "-k", "rotating", "-vv")
    assert code_of_exit == 0, said[-3000:]
    assert said.count("PASSED") > 10
    path.write_text(code + ORACLE.replace("WRONG", "1"), encoding="utf-8")
    assert contract(path, files[1], "-k", "rotating and False")[0] == 1
