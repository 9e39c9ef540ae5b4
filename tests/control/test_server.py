# SPDX-License-Identifier: MIT
"""The control socket as its clients see it, good ones and others."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import stat
import sys
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from tests.control.fake_server import PATIENCE, FakeControls
from trioserve.control import server
from trioserve.control.messages import MAX_REQUEST_SIZE
from trioserve.control.server import serve_control

if TYPE_CHECKING:
    import subprocess
    from collections.abc import AsyncIterator
    from pathlib import Path


def is_there(path: Path) -> bool:
    return os.path.lexists(path)


@contextlib.asynccontextmanager
async def serving(path: Path) -> AsyncIterator[FakeControls]:
    """A server around the block, in this loop."""
    controls = FakeControls()
    async with trio.open_nursery() as nursery:
        assert await nursery.start(serve_control, str(path), controls) == str(path)
        yield controls
        nursery.cancel_scope.cancel()
    assert not is_there(path)


class Client:
    """A connection, and nothing that it must keep to."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self._buffer = b""

    async def send(self, line: bytes) -> None:
        await self.stream.send_all(line)

    async def line(self) -> bytes:
        """The next line; empty at the end."""
        while b"\n" not in self._buffer:
            data = await self.stream.receive_some(65536)
            if not data:
                assert not self._buffer
                return b""
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    async def ask(self, line: bytes) -> Any:
        """The answer to a line."""
        await self.send(line + b"\n")
        return json.loads(await self.line())


@contextlib.asynccontextmanager
async def connected(path: Path) -> AsyncIterator[Client]:
    async with await trio.open_unix_socket(path) as stream:
        yield Client(stream)


STATUS = b'{"ask": "status"}'

# -- the socket -------------------------------------------------------------------------------


async def test_only_its_user_may_connect_whatever_the_umask(base: Path) -> None:
    umask = os.umask(0)
    try:
        async with serving(base / "s"):
            assert stat.S_IMODE((base / "s").stat().st_mode) == 0o600
    finally:
        os.umask(umask)


async def test_what_a_killed_server_has_left_is_replaced(base: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind(str(base / "s"))
    async with serving(base / "s"), connected(base / "s") as client:
        assert "answer" in await client.ask(STATUS)


async def refused(path: str, records: list[logging.LogRecord]) -> str:
    """Why there is no control socket: what the one line in the log says, after the path."""
    async with trio.open_nursery() as nursery:
        assert await nursery.start(serve_control, path, FakeControls()) is None
    [record] = records
    assert record.levelno == logging.WARNING
    lead = f"there is no control socket, so trioservectl can't be used: {path}: "
    assert record.getMessage().startswith(lead)
    return record.getMessage().removeprefix(lead)


async def test_a_socket_of_a_living_server_is_left_to_it(
    base: Path, records: list[logging.LogRecord]
) -> None:
    async with serving(base / "s"):
        assert "listens there" in await refused(str(base / "s"), records)
        async with connected(base / "s") as client:
            assert "answer" in await client.ask(STATUS)


async def test_a_file_that_is_no_socket_is_left_alone(
    base: Path, records: list[logging.LogRecord]
) -> None:
    (base / "s").write_text("precious")
    assert "no socket is there" in await refused(str(base / "s"), records)
    assert (base / "s").read_text() == "precious"


@pytest.mark.parametrize("directory", ["/nowhere", "/proc", "/etc/hostname"])
async def test_without_a_directory_to_write_to_it_is_off(
    directory: str, records: list[logging.LogRecord]
) -> None:
    assert await refused(f"{directory}/s", records)


async def test_a_directory_that_the_user_may_not_write_to_is_no_reason_to_fail(base: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to become somebody else")
    os.chmod(base, 0o755)
    program = (
        "import logging, sys, os, trio\n"
        "from trioserve.control.server import serve_control\n"
        "logging.basicConfig(format='%(message)s')\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "trio.run(serve_control, sys.argv[1], None)\n"
        "print('went on')\n"
    )
    done = await trio.run_process(
        [sys.executable, "-c", program, f"{base}/s"], capture_stdout=True, capture_stderr=True
    )
    assert done.stdout == b"went on\n"
    assert done.stderr.decode() == (
        f"there is no control socket, so trioservectl can't be used: {base}/s: Permission denied\n"
    )


async def test_a_directory_where_anybody_may_replace_files_is_not_used(
    base: Path, records: list[logging.LogRecord]
) -> None:
    (base / "open").mkdir()
    (base / "open").chmod(0o777)
    assert "anybody may replace files" in await refused(f"{base}/open/s", records)


async def test_without_a_path_it_is_off_without_a_word(records: list[logging.LogRecord]) -> None:
    async with trio.open_nursery() as nursery:
        assert await nursery.start(serve_control, None, FakeControls()) is None
    assert records == []


# -- requests ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "asked"),
    [
        (STATUS, ("status",)),
        (b'{"ask": "add_workers", "with": {"count": 3}}', ("add_workers", 3)),
        (b'{"ask": "remove_workers", "with": {"count": 3}}', ("remove_workers", 3)),
        (b'{"ask": "kill_worker", "with": {"pid": 3}}', ("kill_worker", 3)),
        (b'{"ask": "add_dirty", "with": {"count": 3}}', ("add_dirty", 3)),
        (b'{"ask": "remove_dirty", "with": {"count": 3}}', ("remove_dirty", 3)),
        (b'{"ask": "reload"}', ("reload",)),
        (b'{"ask": "set_log_level", "with": {"level": "debug"}}', ("set_log_level", "debug")),
        (b'{"ask": "shutdown", "with": {"now": false}}', ("shutdown", False)),
        (b'{"ask": "tasks"}', ("tasks",)),
    ],
)
async def test_what_is_asked_is_done_and_answered(
    base: Path, line: bytes, asked: tuple[Any, ...]
) -> None:
    async with serving(base / "s") as controls, connected(base / "s") as client:
        assert list(await client.ask(line)) == ["answer"]
        assert controls.asked == [asked]


async def test_a_refusal_is_the_servers_words_and_the_connection_goes_on(base: Path) -> None:
    async with serving(base / "s") as controls, connected(base / "s") as client:
        controls.refuses = "not now"
        assert await client.ask(STATUS) == {"refused": "not now"}
        controls.refuses = None
        assert "answer" in await client.ask(STATUS)


async def test_what_is_no_json_is_refused_and_the_connection_goes_on(base: Path) -> None:
    async with serving(base / "s") as controls, connected(base / "s") as client:
        assert "expected a line of JSON" in (await client.ask(b"status"))["refused"]
        assert "expected a line of JSON" in (await client.ask(b""))["refused"]
        assert "answer" in await client.ask(STATUS)
        assert controls.asked == [("status",)]


async def test_requests_may_come_together_or_in_pieces(base: Path) -> None:
    async with serving(base / "s") as controls, connected(base / "s") as client:
        await client.send(STATUS + b"\n" + STATUS + b"\n" + STATUS[:5])
        assert "answer" in json.loads(await client.line())
        assert "answer" in json.loads(await client.line())
        for piece in STATUS[5:]:
            await client.send(bytes((piece,)))
        assert "answer" in await client.ask(b"")
        assert len(controls.asked) == 3


async def test_an_error_of_the_servers_own_is_logged_and_said(
    base: Path, records: list[logging.LogRecord]
) -> None:
    async with serving(base / "s") as controls, connected(base / "s") as client:
        controls.raises = ZeroDivisionError("by 0")
        assert await client.ask(STATUS) == {"refused": "it failed: ZeroDivisionError: by 0"}
        controls.raises = None
        assert "answer" in await client.ask(STATUS)
    [record] = records
    assert record.getMessage() == "control: status failed"
    assert record.exc_info is not None


async def test_what_changes_the_server_is_logged(
    base: Path, records: list[logging.LogRecord]
) -> None:
    async with serving(base / "s"), connected(base / "s") as client:
        await client.ask(STATUS)
        await client.ask(b'{"ask": "add_workers", "with": {"count": 3}}')
    assert [record.getMessage() for record in records] == ["control: add_workers 3"]


async def test_who_asks_for_the_end_is_answered_though_it_comes_at_once(base: Path) -> None:
    async with connected_to_the_end(base / "s") as client:
        assert await client.ask(b'{"ask": "shutdown", "with": {"now": true}}') == {"answer": {}}
        assert await client.line() == b""


@contextlib.asynccontextmanager
async def connected_to_the_end(path: Path) -> AsyncIterator[Client]:
    """A client whose server is cancelled by ``shutdown`` itself."""
    controls = FakeControls()

    async def serve(task_status: trio.TaskStatus[None]) -> None:
        with trio.CancelScope() as controls.scope:
            async with trio.open_nursery() as serving:
                await serving.start(serve_control, str(path), controls)
                task_status.started()

    async with trio.open_nursery() as nursery:
        await nursery.start(serve)
        async with connected(path) as client:
            yield client


# -- clients that are no good -------------------------------------------------------------------


async def test_a_line_that_is_too_long_ends_its_connection_only(base: Path) -> None:
    async with serving(base / "s"), connected(base / "s") as good:
        async with connected(base / "s") as bad:
            await bad.send(b"x" * (MAX_REQUEST_SIZE + 1))
            assert "at most 4096 bytes" in json.loads(await bad.line())["refused"]
            assert await bad.line() == b""
        assert "answer" in await good.ask(STATUS)


async def test_a_line_without_end_is_not_held(base: Path) -> None:
    async with serving(base / "s"), connected(base / "s") as bad:
        with contextlib.suppress(trio.BrokenResourceError):
            for _ in range(1000):
                await bad.send(b"x" * 65536)
            pytest.fail("it has read 64 MiB")


async def test_a_silent_client_is_left_after_a_minute(
    base: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with serving(base / "s"), connected(base / "s") as client:
        assert "answer" in await client.ask(STATUS)
        await client.send(b'{"ask"')
        began = trio.current_time()
        assert await client.line() == b""
        assert trio.current_time() - began == pytest.approx(server.IDLE_TIMEOUT, abs=1)


async def test_a_client_that_reads_nothing_is_left_after_a_while(
    base: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with serving(base / "s") as controls, connected(base / "s") as client:
        controls.size = 8 << 20
        await client.send(STATUS + b"\n")
        await trio.sleep(server.WRITE_TIMEOUT * 1.5)
        received = 0
        with contextlib.suppress(trio.BrokenResourceError):
            while data := await client.stream.receive_some(65536):
                received += len(data)
        assert 0 < received < controls.size


async def test_a_client_that_leaves_in_the_middle_harms_nobody(
    base: Path, records: list[logging.LogRecord]
) -> None:
    async with serving(base / "s") as controls, connected(base / "s") as good:
        controls.size = 8 << 20
        for sent in (b"", STATUS[:5], STATUS + b"\n"):
            async with connected(base / "s") as bad:
                await bad.send(sent)
        controls.size = 0
        assert "answer" in await good.ask(STATUS)
    assert records == []


async def test_more_connections_than_are_served_are_told_so(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_MAX_CONNECTIONS", 2)
    async with serving(base / "s"), connected(base / "s") as one:
        async with connected(base / "s") as two:
            assert "answer" in await one.ask(STATUS)
            assert "answer" in await two.ask(STATUS)
            async with connected(base / "s") as three:
                assert json.loads(await three.line()) == {
                    "refused": "too many connections are open already"
                }
                assert await three.line() == b""
        await trio.testing.wait_all_tasks_blocked()
        async with connected(base / "s") as four:
            assert "answer" in await four.ask(STATUS)


async def test_another_user_is_refused_even_where_the_file_lets_them_in(
    base: Path, records: list[logging.LogRecord]
) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to become somebody else")
    program = (
        "import os, socket, sys\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "sock = socket.socket(socket.AF_UNIX)\n"
        f"sock.settimeout({PATIENCE})\n"
        "try:\n"
        "    sock.connect(sys.argv[1])\n"
        "except PermissionError:\n"
        "    sys.exit('no way in')\n"
        "try:\n"
        '    sock.sendall(b\'{"ask": "status"}\\n\')\n'
        "    print(sock.recv(100))\n"
        "except (BrokenPipeError, ConnectionResetError):\n"
        "    print(b'')\n"
    )
    command = [sys.executable, "-I", "-c", program, str(base / "s")]

    async def come() -> subprocess.CompletedProcess[bytes]:
        return await trio.run_process(
            command, capture_stdout=True, capture_stderr=True, check=False
        )

    async with serving(base / "s") as controls:
        os.chmod(base, 0o755)
        assert (await come()).stderr == b"no way in\n"
        os.chmod(base / "s", 0o666)
        assert (await come()).stdout == b"b''\n"
        assert controls.asked == []
    assert [record.getMessage() for record in records] == [
        "control: a connection of user 65534 was refused"
    ]
