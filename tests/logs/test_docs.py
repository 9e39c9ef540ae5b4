# SPDX-License-Identifier: MIT
"""docs/logging.md says what the code does."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_access_format import entry
from trioserve.access_format import ATOMS
from trioserve.logs.json_format import _access_members

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "logging.md").read_text("utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)


def test_every_atom_is_in_the_table_with_its_meaning() -> None:
    table = dict(re.findall(r"^\| `%\((\w)\)s` \| (.*) \|$", TEXT, re.MULTILINE))
    assert table == {name: atom.meaning for name, atom in ATOMS.items()}


def test_every_json_member_is_in_the_table() -> None:
    rows = re.findall(r"^\| (`[a-z_`, ]+`) \| ", TEXT.partition("## JSON")[2], re.MULTILINE)
    assert sorted(re.findall(r"\w+", " ".join(rows))) == sorted(_access_members(entry()))


@pytest.mark.parametrize("block", BLOCKS, ids=["own_handlers", "queue"])
def test_the_examples_run_and_their_handlers_take_the_access_log(block: str) -> None:
    check = (
        "\nfrom trioserve.config import LogOptions"
        "\nfrom trioserve.logs import configure_logging, make_access_log"
        "\nconfigure_logging(LogOptions())"
        "\nassert make_access_log(LogOptions()) is not None"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", block + check],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
