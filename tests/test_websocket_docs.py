# SPDX-License-Identifier: MIT
"""What docs/websocket_conformance.md names is there, and docs/websocket.md knows all settings."""

from __future__ import annotations

import re

import pytest

from tests.server_process import REPOSITORY
from trioserve.config.settings import all_settings

CONFORMANCE = (REPOSITORY / "docs" / "websocket_conformance.md").read_text("utf-8")
PAGE = (REPOSITORY / "docs" / "websocket.md").read_text("utf-8")
NAMED = sorted(set(re.findall(r"`([\w/]+\.py)::(test_\w+)`", CONFORMANCE)))


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_a_test_that_is_named_exists(file: str, name: str) -> None:
    text = (REPOSITORY / "tests" / file).read_text("utf-8")
    assert re.search(rf"^(async )?def {name}\(", text, re.MULTILINE)


def test_the_table_has_tests() -> None:
    assert len(NAMED) > 40
    assert "RESULTS" not in CONFORMANCE


def test_every_setting_of_websocket_is_in_its_table() -> None:
    group = [name for name in all_settings() if name.startswith("websocket_")]
    assert len(group) == 9
    for name in group:
        assert f"| `{name}` |" in PAGE
