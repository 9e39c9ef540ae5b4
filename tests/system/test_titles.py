# SPDX-License-Identifier: MIT
from __future__ import annotations

import subprocess
import sys

import pytest

from trioserve.system.titles import process_title, set_process_title


@pytest.mark.parametrize(
    ("role", "name", "title"),
    [
        ("arbiter", "shop", "trioserve: arbiter [shop]"),
        ("worker 2", "shop", "trioserve: worker 2 [shop]"),
        ("dirty worker 1", "trioserve", "trioserve: dirty worker 1"),
    ],
)
def test_a_title_tells_the_role_and_the_name(role: str, name: str, title: str) -> None:
    assert process_title(role, name) == title


@pytest.mark.skipif(sys.platform != "linux", reason="it looks into /proc")
def test_the_title_is_what_the_system_shows() -> None:
    program = (
        "from trioserve.system.titles import set_process_title\n"
        "set_process_title('trioserve: worker 2 [shop]')\n"
        "print(open('/proc/self/cmdline').read().rstrip('\\0'))\n"
    )
    command = [sys.executable, "-c", program, *["room for the title"] * 3]
    assert subprocess.check_output(command, text=True) == "trioserve: worker 2 [shop]\n"


def test_without_setproctitle_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "setproctitle", None)
    set_process_title("trioserve: arbiter")
