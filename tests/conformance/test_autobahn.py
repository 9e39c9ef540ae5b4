# SPDX-License-Identifier: MIT
"""The cases of the Autobahn test suite that take seconds; `make conformance` plays all 517."""

from __future__ import annotations

import importlib.util
import os
import sys
from typing import Final

import pytest

from tests.conformance.known import ENGINES
from tests.server_process import running

pytestmark = pytest.mark.slow  # each test starts two processes

#: Each group; those of compression cost a second and more each, from some size of message on.
CASES: Final = (
    *("1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*"),
    *("9.1.1", "9.2.1", "9.3.6", "9.4.6", "9.5.4", "9.6.4", "9.7.1", "9.8.3", "10.*"),
    *("12.1.1", "12.2.2", "12.3.3", "12.4.4", "12.5.1"),
    *("13.1.1", "13.2.2", "13.3.3", "13.4.4", "13.5.1", "13.6.2", "13.7.3"),
)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_case_of_each_kind_ends_as_it_should(engine: str) -> None:
    for package in ("kosoku", engine.replace("-", "_")):
        if importlib.util.find_spec(package) is None and os.environ.get("CI") != "true":
            pytest.skip(f"{package} is not installed (the group test has it)")
    command = (sys.executable, "-m", "tests.conformance.autobahn", "--engine", engine)
    with running(*command, "--cases", ",".join(CASES), "--timeout", "60") as suite:
        code = suite.wait(90)
        assert code == 0, f"{suite.stdout.text}\n{suite.stderr.text}"
        suite.stdout.wait_for(rf"^{engine}: \d+ cases in \d+ s$")
