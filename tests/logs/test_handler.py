# SPDX-License-Identifier: MIT
from __future__ import annotations

import io
import logging
import os
import sys

import pytest

from trioserve.logs.handler import ServerStreamHandler


class FullDisk(io.StringIO):
    """A stream that fails until there is room."""

    has_room = False

    def flush(self) -> None:
        if not self.has_room:
            self.seek(0)
            self.truncate()
            raise OSError(28, "No space left on device")


def record(message: str) -> logging.LogRecord:
    return logging.LogRecord("trioserve.access", logging.INFO, "x.py", 1, message, None, None)


def test_a_full_disk_is_reported_once_and_the_log_goes_on_when_there_is_room(
    capsys: pytest.CaptureFixture[str],
) -> None:
    stream = FullDisk()
    handler = ServerStreamHandler(stream)
    handler.handle(record("lost"))
    handler.handle(record("lost too"))
    stream.has_room = True
    handler.handle(record("kept"))
    assert stream.getvalue() == "kept\n"
    assert capsys.readouterr().err == (
        "trioserve: can't write the log trioserve.access; later failures won't be shown: "
        "OSError: [Errno 28] No space left on device\n"
    )


def test_a_closed_stream_raises_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    stream = io.StringIO()
    handler = ServerStreamHandler(stream)
    stream.close()
    handler.handle(record("lost"))
    assert "ValueError: I/O operation on closed file" in capsys.readouterr().err


def test_a_pipe_without_a_reader_raises_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    stream = os.fdopen(writer, "w", encoding="utf-8")
    ServerStreamHandler(stream).handle(record("lost"))
    with pytest.raises(BrokenPipeError):  # the buffer's rest; the descriptor is closed all the same
        stream.close()
    assert "BrokenPipeError" in capsys.readouterr().err


@pytest.mark.parametrize("has_stderr", [True, False])
def test_a_broken_stderr_that_is_the_stream_itself_raises_nothing(
    monkeypatch: pytest.MonkeyPatch, has_stderr: bool
) -> None:
    stream = io.StringIO()
    stream.close()
    monkeypatch.setattr(sys, "stderr", stream if has_stderr else None)
    ServerStreamHandler(stream).handle(record("lost"))


def test_nothing_is_reported_where_logging_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", False)
    ServerStreamHandler(FullDisk()).handle(record("lost"))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("encoding", "written"),
    [("ascii", rb"caf\xe9 \u732b \udc80"), ("utf-8", "café 猫 \\udc80".encode())],
)
def test_characters_that_the_stream_lacks_are_escaped(encoding: str, written: bytes) -> None:
    buffer = io.BytesIO()
    stream = io.TextIOWrapper(buffer, encoding=encoding)
    ServerStreamHandler(stream).handle(record("café 猫 \udc80"))
    assert buffer.getvalue() == written + b"\n"
