# SPDX-License-Identifier: MIT
from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from trioserve.timestamps import PerSecond, common_log_time, local_time, utc_time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NOON = 1795348800  # 2026-11-22 12:00:00 UTC


@pytest.fixture
def set_zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    def set_to(zone: str) -> None:
        monkeypatch.setenv("TZ", zone)
        time.tzset()

    yield set_to
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("zone", "common", "local"),
    [
        ("UTC0", "[22/Nov/2026:12:00:00 +0000]", "[2026-11-22 12:00:00 +0000]"),
        ("XXX-5:30", "[22/Nov/2026:17:30:00 +0530]", "[2026-11-22 17:30:00 +0530]"),
        ("XXX3:30", "[22/Nov/2026:08:30:00 -0330]", "[2026-11-22 08:30:00 -0330]"),
    ],
)
def test_local_times_carry_their_offset(
    set_zone: Callable[[str], None], zone: str, common: str, local: str
) -> None:
    set_zone(zone)
    assert common_log_time(NOON) == common
    assert local_time(NOON) == local
    assert utc_time(NOON) == "2026-11-22T12:00:00"


def test_every_month_has_its_english_name(set_zone: Callable[[str], None]) -> None:
    set_zone("UTC0")
    names = [common_log_time(NOON + 30 * 86400 * month)[4:7] for month in range(12)]
    assert " ".join(names) == "Nov Dec Jan Feb Mar Apr May Jun Jul Aug Sep Oct"


def test_a_stamp_is_rendered_once_a_second_and_never_late() -> None:
    asked: list[int] = []

    def render(second: int) -> str:
        asked.append(second)
        return str(second)

    stamp = PerSecond(render)
    assert [stamp(now) for now in (7.0, 7.999, 8.0, 8.5, 7.5)] == ["7", "7", "8", "8", "7"]
    assert asked == [7, 8, 7]
