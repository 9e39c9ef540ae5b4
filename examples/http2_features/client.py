# SPDX-License-Identifier: MIT
"""Asks the application beside it for what HTTP/2 has, on the library h2 and one socket, and prints
what it saw. It speaks HTTP/2 without TLS, by prior knowledge.

python examples/http2_features/client.py [HOST:PORT]        127.0.0.1:8000 by default

For tests of an application, an HTTP client with HTTP/2 is less work; this one shows all of it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import struct
import sys
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING

import h2.config
import h2.connection
import h2.events

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Fields = list[tuple[str, str]]

TIMEOUT = 10.0
PRIORITY_UPDATE = 0x10  # RFC 9218 section 7.1


@dataclass
class Response:
    """What has come of a response.

    Attributes:
        interim: the 1xx responses ahead of it, status and fields.
        status: 0 until its head has come.
    """

    interim: list[tuple[int, Fields]] = field(default_factory=list)
    status: int = 0
    headers: Fields = field(default_factory=list)
    body: bytes = b""
    trailers: Fields = field(default_factory=list)
    ended: bool = False

    def json(self) -> object:
        return json.loads(self.body)


class Client:
    """One connection with any number of requests at a time.

    Attributes:
        arrivals: the stream and the size of each DATA frame, in the order in which they came.
        holds: bytes stay on the server's account until ``let_go``, so that it stops sending when
            the window is full. Otherwise it gets credit as they come.
    """

    def __init__(self, host: str, port: int) -> None:
        self._socket = socket.create_connection((host, port), TIMEOUT)
        self._h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="ascii"))
        self._authority = f"{host}:{port}"
        self._responses: dict[int, Response] = {}
        self._held: list[tuple[int, int]] = []
        self.arrivals: list[tuple[int, int]] = []
        self.holds = False
        self._h2.initiate_connection()
        self._flush()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._h2.close_connection()
        self._flush()
        self._socket.close()

    def begin(
        self,
        path: str,
        *more: tuple[str, str],
        method: str = "GET",
        body: Sequence[bytes] = (),
        trailers: Fields | None = None,
        weight: int | None = None,
    ) -> int:
        """Sends a request and returns its stream.

        Args:
            more: further header fields.
            body: parts of it, a DATA frame each.
            trailers: fields after the body.
            weight: RFC 7540's priority.
        """
        stream = self._h2.get_next_available_stream_id()
        self._responses[stream] = Response()
        fields = [
            (":method", method),
            (":scheme", "http"),
            (":authority", self._authority),
            (":path", path),
            *more,
        ]
        self._h2.send_headers(stream, fields, end_stream=not body, priority_weight=weight)
        for number, part in enumerate(body, 1):
            self._h2.send_data(stream, part, end_stream=number == len(body) and not trailers)
        if trailers:
            self._h2.send_headers(stream, trailers, end_stream=True)
        self._flush()
        return stream

    def prioritize(self, stream: int, priority: str) -> None:
        """Sends PRIORITY_UPDATE, maybe ahead of its stream; the library has no word for it."""
        payload = struct.pack(">L", stream) + priority.encode()
        head = struct.pack(">BHBBL", 0, len(payload), PRIORITY_UPDATE, 0, 0)
        self._socket.sendall(head + payload)

    def next_stream(self) -> int:
        """The stream of the request that comes next."""
        return self._h2.get_next_available_stream_id()

    def wait(self, stream: int) -> Response:
        """Reads until the response has ended."""
        return self.read_until(stream, lambda response: response.ended)

    def read_until(self, stream: int, is_so: Callable[[Response], bool]) -> Response:
        """Reads until so much of a response is there."""
        response = self._responses[stream]
        while not is_so(response):
            data = self._socket.recv(65536)
            if not data:
                raise ConnectionError("the server has closed the connection")
            for event in self._h2.receive_data(data):
                self._handle(event)
            self._flush()
        return response

    def let_go(self) -> None:
        """Gives the server credit for what was held."""
        self.holds = False
        for stream, size in self._held:
            self._h2.acknowledge_received_data(size, stream)
        self._held.clear()
        self._flush()

    def window(self, stream: int) -> int:
        """Bytes that the server may still send."""
        return self._h2.remote_flow_control_window(stream)

    def _flush(self) -> None:
        self._socket.sendall(self._h2.data_to_send())

    def _handle(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.InformationalResponseReceived():
                status, fields = split(event.headers)
                self._responses[event.stream_id].interim.append((status, fields))
            case h2.events.ResponseReceived():
                response = self._responses[event.stream_id]
                response.status, response.headers = split(event.headers)
            case h2.events.DataReceived():
                self._responses[event.stream_id].body += event.data
                self.arrivals.append((event.stream_id, len(event.data)))
                self._held.append((event.stream_id, event.flow_controlled_length))
                if not self.holds:
                    self.let_go()
            case h2.events.TrailersReceived():
                _, self._responses[event.stream_id].trailers = split(event.headers)
            case h2.events.StreamEnded():
                self._responses[event.stream_id].ended = True
            case h2.events.StreamReset() | h2.events.ConnectionTerminated():
                raise ConnectionError(f"{type(event).__name__}: {event.error_code!r}")


def split(headers: Sequence[tuple[str | bytes, str | bytes]] | None) -> tuple[int, Fields]:
    """The status, 0 if there is none, and the fields."""
    fields = [(str(name), str(value)) for name, value in headers or ()]
    status = dict(fields).get(":status", "0")
    return int(status), [(name, value) for name, value in fields if name != ":status"]


# -- what there is to be seen -----------------------------------------------------------------


def early_hints_and_trailers(client: Client) -> None:
    response = client.wait(client.begin("/"))
    for status, fields in response.interim:
        print(f"  {status} ahead of the response: {fields}")
    print(f"  {response.status}, {len(response.body)} bytes of body")
    print(f"  trailers after it: {response.trailers}")


def priorities(client: Client) -> None:
    """RFC 9218: the field, or a frame. RFC 7540: a weight, which only the application heeds."""
    said = client.wait(client.begin("/priority"))
    print(f"  by default: {said.json()}")
    said = client.wait(client.begin("/priority", ("priority", "u=1, i")))
    print(f"  by a header field: {said.json()}")
    client.prioritize(client.next_stream(), "u=6")
    said = client.wait(client.begin("/priority"))
    print(f"  by PRIORITY_UPDATE: {said.json()}")
    said = client.wait(client.begin("/priority", weight=200))
    print(f"  by RFC 7540's weight: {said.json()}")


def overtaking(client: Client) -> None:
    """A response that was asked for later comes first, since it is more urgent."""
    client.arrivals.clear()
    client.holds = True
    slow = client.begin("/report?size=150000", ("priority", "u=6"))
    client.read_until(slow, lambda _: client.window(slow) == 0)  # the server can't go on
    urgent = client.begin("/report?size=20000", ("priority", "u=1"))
    client.read_until(urgent, lambda response: response.status != 0)
    client.let_go()
    client.wait(slow)
    names = {slow: "the long report (u=6)", urgent: "the urgent one (u=1)"}
    for stream, frames in groupby(client.arrivals, lambda arrival: arrival[0]):
        print(f"  {sum(size for _, size in frames):7,} bytes of {names[stream]}")


def request_trailers(client: Client) -> None:
    parts = [b"the first part, ", b"the second part"]
    digest = base64.b64encode(hashlib.sha256(b"".join(parts)).digest()).decode()
    for value in (f"sha-256=:{digest}:", "sha-256=:AAAA:", None):
        trailers = None if value is None else [("repr-digest", value)]
        stream = client.begin("/upload", method="POST", body=parts, trailers=trailers)
        response = client.wait(stream)
        interim = [status for status, _ in response.interim]
        print(f"  trailer {value}: {interim}, then {response.status} {response.json()}")


def main() -> None:
    host, _, port = (sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:8000").rpartition(":")
    with Client(host, int(port)) as client:
        for show in (early_hints_and_trailers, priorities, overtaking, request_trailers):
            print(show.__name__.replace("_", " "))
            show(client)


if __name__ == "__main__":
    main()
