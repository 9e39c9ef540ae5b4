# SPDX-License-Identifier: MIT
"""Who is at the other end of a Unix stream."""

from __future__ import annotations

import os
import socket
import struct
import sys
from typing import TYPE_CHECKING, Any

from trioserve.peers import is_stranger, peer_uid

if TYPE_CHECKING:
    import pytest


def test_the_user_at_the_other_end_is_known() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert peer_uid(ours) == os.geteuid()


def test_the_user_is_read_from_what_bsd_systems_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    class Socket:
        def getsockopt(self, level: int, name: int, size: int) -> bytes:
            assert (level, name, size) == (0, 1, 76)
            return struct.pack("2Ih16I", 0, 501, 1, *[20] * 16)

    sock: Any = Socket()
    for platform in ("darwin", "freebsd14"):
        monkeypatch.setattr(sys, "platform", platform)
        assert peer_uid(sock) == 501
    monkeypatch.setattr(sys, "platform", "sunos5")
    assert peer_uid(sock) is None


def test_a_system_that_does_not_tell_is_no_error() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.close()
        assert peer_uid(sock) is None


def test_a_stranger_is_neither_this_user_nor_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert [is_stranger(uid) for uid in (1000, 0, 1001, None)] == [False, False, True, False]
