# SPDX-License-Identifier: MIT
from __future__ import annotations

import pytest

from trioserve.config import Config
from trioserve.protocols.http2 import LocalSettings, local_settings

#: Streams, window, frame, head, window of the connection: as the table in profiles.py says.
FIGURES = {
    "conservative": LocalSettings(32, 65_535, 16_384, 16_384, 32 * 65_535),
    "balanced": LocalSettings(100, 131_072, 65_536, 65_536, 100 * 131_072),
    "high-concurrency": LocalSettings(1_000, 65_535, 16_384, 65_536, 1_000 * 65_535),
}


@pytest.mark.parametrize("name", FIGURES)
def test_a_profile_has_its_figures(name: str) -> None:
    assert local_settings(Config().with_changes(http2_profile=name)) == FIGURES[name]


def test_balanced_is_the_default() -> None:
    assert local_settings(Config()) == FIGURES["balanced"]


def test_a_setting_goes_before_the_profile() -> None:
    settings = local_settings(
        Config(
            http2_max_concurrent_streams=7,
            http2_initial_window_size=100_000,
            http2_max_frame_size=20_000,
            http2_max_header_list_size=5_000,
        )
    )
    assert settings == LocalSettings(7, 100_000, 20_000, 5_000, 700_000)


def test_a_connections_window_is_never_smaller_than_what_a_client_begins_with() -> None:
    settings = local_settings(
        Config(http2_max_concurrent_streams=1, http2_initial_window_size=1024)
    )
    assert settings.connection_window_size == 65_535


def test_a_connections_window_is_never_larger_than_there_is() -> None:
    settings = local_settings(Config(http2_initial_window_size=2**31 - 1))
    assert settings.connection_window_size == 2**31 - 1
