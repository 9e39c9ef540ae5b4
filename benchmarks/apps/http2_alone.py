# SPDX-License-Identifier: MIT
"""A library of HTTP/2 in a Trio loop, and nothing else: no ASGI, no limits, no deadlines.

`python -m benchmarks.apps.http2_alone --port PORT [--certfile F --keyfile F] h2|jh2`

It is what the library's documentation calls a server: one task a connection, default configuration;
bytes come, events are handled, and one `send_all` takes what they made. It answers as
benchmarks/apps/transfers.py does. A body that the client's windows have no room for waits for its
WINDOW_UPDATE; credit for an upload is given back as it comes.
"""

from __future__ import annotations

import argparse
import importlib
import ssl
from functools import partial
from typing import Any

import trio

BODY = b"Hello, world!"
READ_SIZE = 65536


class Connection:
    """One connection; `library` is h2 or jh2, which has the same interface."""

    def __init__(self, library: str, stream: trio.abc.Stream) -> None:
        def load(name: str) -> Any:
            return importlib.import_module(f"{library}.{name}")

        self._events = load("events")
        config = load("config").H2Configuration(client_side=False)
        self._h2 = load("connection").H2Connection(config=config)
        self._stream = stream
        self._uploads: dict[int, int] = {}
        self._waiting: dict[int, memoryview] = {}

    async def run(self) -> None:
        """Serves until the client leaves."""
        self._h2.initiate_connection()
        await self._stream.send_all(self._h2.data_to_send())
        while data := await self._stream.receive_some(READ_SIZE):
            for event in self._h2.receive_data(data):
                self._handle(event)
            if answer := self._h2.data_to_send():
                await self._stream.send_all(answer)

    def _handle(self, event: Any) -> None:
        events = self._events
        if isinstance(event, events.RequestReceived):
            fields = dict(event.headers)
            if _text(fields, ":method") == "GET":
                self._respond(event.stream_id, _body_of(_text(fields, ":path")))
            else:
                self._uploads[event.stream_id] = 0
        elif isinstance(event, events.DataReceived):
            self._uploads[event.stream_id] += len(event.data)
            self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, events.StreamEnded):
            if event.stream_id in self._uploads:
                self._respond(event.stream_id, str(self._uploads.pop(event.stream_id)).encode())
        elif isinstance(event, events.WindowUpdated | events.RemoteSettingsChanged):
            for stream_id in list(self._waiting):
                self._send(stream_id, self._waiting.pop(stream_id))
        elif isinstance(event, events.StreamReset):
            self._uploads.pop(event.stream_id, None)
            self._waiting.pop(event.stream_id, None)

    def _respond(self, stream_id: int, body: bytes) -> None:
        fields = [
            (":status", "200"),
            ("content-type", "text/plain"),
            ("content-length", str(len(body))),
        ]
        self._h2.send_headers(stream_id, fields)
        self._send(stream_id, memoryview(body))

    def _send(self, stream_id: int, body: memoryview) -> None:
        """As much as may go; the rest waits."""
        most = self._h2.max_outbound_frame_size
        while len(body) > (size := min(most, self._h2.local_flow_control_window(stream_id))):
            if size <= 0:
                self._waiting[stream_id] = body
                return
            self._h2.send_data(stream_id, bytes(body[:size]))
            body = body[size:]
        self._h2.send_data(stream_id, bytes(body), end_stream=True)


def _text(fields: dict[Any, Any], name: str) -> str:
    """A field, whether the library gives text or bytes."""
    value = fields[name] if name in fields else fields[name.encode()]
    return value if isinstance(value, str) else value.decode()


def _body_of(path: str) -> bytes:
    return bytes(int(path.rpartition("/")[2])) if path.startswith("/download/") else BODY


async def serve(library: str, stream: trio.abc.Stream) -> None:
    """Serves one connection. A client that breaks it ends it, and nothing else."""
    protocol_error = importlib.import_module(f"{library}.exceptions").ProtocolError
    try:
        async with stream:
            await Connection(library, stream).run()
    except (trio.BrokenResourceError, protocol_error):
        return


async def main() -> None:
    """Listens on 127.0.0.1."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--certfile")
    parser.add_argument("--keyfile")
    parser.add_argument("library", choices=("h2", "jh2"))
    options = parser.parse_args()
    handler = partial(serve, options.library)
    if options.certfile is None:
        await trio.serve_tcp(handler, options.port, host="127.0.0.1")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(options.certfile, options.keyfile)
    context.set_alpn_protocols(["h2"])
    await trio.serve_ssl_over_tcp(handler, options.port, context, host="127.0.0.1")


if __name__ == "__main__":
    trio.run(main)
