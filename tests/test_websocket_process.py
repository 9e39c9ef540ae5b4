# SPDX-License-Identifier: MIT
"""WebSocket over whole processes, with the clients that people use."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.request import urlopen

import pytest
import trio
import trio_websocket
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from tests.server_process import ServerProcess, serving
from tests.tls.authority import client_context, write_certificate
from tests.websocket.client import KEY
from tests.websocket.frames import CLOSE, PING, close_payload, frame, split_frames

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]

HERE: Final = Path(__file__).parent
ENGINES: Final = ("websockets", "trio-websocket")


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    """Each engine."""
    name: str = request.param
    return name


@contextlib.contextmanager
def echoing(engine: str, *options: str) -> Iterator[ServerProcess]:
    """A server of websocket_app."""
    with serving(
        "websocket_app:app", "--websocket-engine", engine, *options, app_dir=HERE
    ) as server:
        yield server
        if server.process.poll() is None:
            assert server.stop() == 0
        assert "ERROR" not in server.stderr.text


def stats(server: ServerProcess) -> dict[str, int]:
    with urlopen(f"http://127.0.0.1:{server.port}/stats") as response:
        found: dict[str, int] = json.load(response)
        return found


@pytest.mark.parametrize("compression", ["deflate", None])
def test_the_client_of_websockets(engine: str, compression: str | None) -> None:
    with echoing(engine) as server:
        with connect(
            f"ws://127.0.0.1:{server.port}/",
            compression=compression,
            subprotocols=[Subprotocol("one")],
        ) as client:
            assert client.subprotocol == "one"
            for message in ("größer", b"\x00" * 1_000_000, "", ["a", "b", "c"]):
                client.send(message)
                whole = "".join(message) if isinstance(message, list) else message
                assert client.recv() == whole
            assert client.ping().wait(10)
            client.close(3000, "as agreed")
        server.stdout.wait_for("closed 3000 as agreed")
        assert client.close_code == 3000


def test_the_client_of_trio_websocket(engine: str) -> None:
    async def talk(port: int) -> None:
        async with trio_websocket.open_websocket_url(f"ws://127.0.0.1:{port}/") as client:
            for message in ("größer", b"\x00" * 300_000, ""):
                await client.send_message(message)
                assert await client.get_message() == message
            await client.ping()
            await client.aclose(4000, "as agreed")

    with echoing(engine) as server:
        trio.run(talk, server.port)
        server.stdout.wait_for("closed 4000 as agreed")


def test_a_websocket_over_tls(engine: str, tmp_path: Path) -> None:
    certificate, key = write_certificate(tmp_path, "localhost")
    options = ("--certfile", certificate, "--keyfile", key)
    with (
        echoing(engine, *options) as server,
        connect(
            f"wss://127.0.0.1:{server.port}/", ssl=client_context(), server_hostname="localhost"
        ) as client,
    ):
        client.send("over TLS")
        assert client.recv() == "over TLS"


def test_a_stop_closes_with_1012_and_is_prompt(engine: str) -> None:
    with echoing(engine) as server, contextlib.ExitStack() as stack:
        clients = [
            stack.enter_context(connect(f"ws://127.0.0.1:{server.port}/")) for _ in range(20)
        ]
        server.send_signal(signal.SIGTERM)
        for client in clients:
            with pytest.raises(ConnectionClosedError) as caught:
                client.recv()
            assert caught.value.rcvd is not None
            assert caught.value.rcvd.code == 1012
        assert server.wait(5) == 0
        assert server.stdout.text.count("closed 1012") == 20


def test_what_is_refused_has_its_status(engine: str) -> None:
    with echoing(engine) as server:
        with pytest.raises(InvalidStatus) as caught:
            connect(
                f"ws://127.0.0.1:{server.port}/",
                additional_headers={"Sec-WebSocket-Extensions": "=", "Origin": "x"},
            )
        assert caught.value.response.status_code == 400


class Crowd:
    """Many WebSockets by their bytes: a client of a library would cost more than the server."""

    def __init__(self, port: int, count: int) -> None:
        self.sockets = [socket.create_connection(("127.0.0.1", port)) for _ in range(count)]
        for sock in self.sockets:
            sock.settimeout(30)
            sock.sendall(
                b"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Version: 13\r\n"
                b"Sec-WebSocket-Key: " + KEY.encode() + b"\r\n\r\n"
            )
        for sock in self.sockets:
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += sock.recv(65536)
            assert head.startswith(b"HTTP/1.1 101 "), head

    def ping(self) -> None:
        """Each, and its pong."""
        for number, sock in enumerate(self.sockets):
            sock.sendall(frame(PING, b"%d" % number))
        for number, sock in enumerate(self.sockets):
            buffer = bytearray()
            while not (found := split_frames(buffer)):
                buffer += sock.recv(65536)
            assert found[0].payload == b"%d" % number

    def close(self) -> None:
        """In order, to the end of each."""
        for sock in self.sockets:
            sock.sendall(frame(CLOSE, close_payload(1000)))
        for sock in self.sockets:
            while sock.recv(65536):
                pass
            sock.close()

    def leave(self) -> None:
        """Without a word."""
        for sock in self.sockets:
            sock.close()


def test_two_thousand_come_and_go_and_nothing_is_left(engine: str) -> None:
    with echoing(engine, "--no-access-log", "--backlog", "4096") as server:

        def visit(*, in_order: bool) -> dict[str, int]:
            crowd = Crowd(server.port, 2000)
            crowd.ping()
            during = stats(server)
            assert during["descriptors"] >= 2000
            if in_order:
                crowd.close()
            else:
                crowd.leave()
            return during

        before = stats(server)
        visit(in_order=True)
        server.stdout.wait_for("closed 1000", count=2000)
        after_one = settled(server, before)
        for round_number in (1, 2):
            visit(in_order=False)
            server.stdout.wait_for("closed 1006", count=2000 * round_number)
            after = settled(server, before)
        # What the first visit has made the allocator keep is not given back, but used again.
        assert after["resident"] - after_one["resident"] < 4 * 2**20


def settled(server: ServerProcess, before: dict[str, int]) -> dict[str, int]:
    """What the server holds once its connections are closed; tasks and descriptors as before."""
    found: dict[str, int] = {}
    for _ in range(500):
        found = stats(server)
        if all(found[key] <= before[key] for key in ("tasks", "descriptors")):
            return found
    raise AssertionError(f"{before} has become {found}")
