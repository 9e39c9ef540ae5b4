# SPDX-License-Identifier: MIT
"""One request over HTTP/2 on a connection of its own, to look at the response.

By prior knowledge, or by ALPN over TLS, where no certificate is verified: it is our own.
"""

from __future__ import annotations

import http.client
import socket
import ssl

import h2.config
import h2.connection
import h2.events
import h2.exceptions

TIMEOUT = 10.0
READ_SIZE = 65536


def get_http2(port: int, path: str = "/", body: bytes | None = None, *, tls: bool = False) -> bytes:
    """Makes a GET, or a POST of `body`, and returns the response's body.

    Raises:
        OSError, http.client.HTTPException: no connection, no response over HTTP/2, a status beyond
            200.
    """
    with connect(port, tls=tls) as sock:
        try:
            return _exchange(sock, path, body, "https" if tls else "http")
        except h2.exceptions.ProtocolError as exc:
            raise http.client.HTTPException(f"no HTTP/2: {type(exc).__name__}") from exc


def connect(port: int, *, tls: bool) -> socket.socket:
    """Opens a connection that will speak HTTP/2."""
    sock = socket.create_connection(("127.0.0.1", port), TIMEOUT)
    if not tls:
        return sock
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    wrapped = context.wrap_socket(sock, server_hostname="127.0.0.1")
    if wrapped.selected_alpn_protocol() != "h2":
        wrapped.close()
        raise http.client.HTTPException("the server did not choose h2 by ALPN")
    return wrapped


def _exchange(sock: socket.socket, path: str, body: bytes | None, scheme: str) -> bytes:
    connection = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding=None))
    connection.initiate_connection()
    fields = [
        (b":method", b"GET" if body is None else b"POST"),
        (b":scheme", scheme.encode()),
        (b":authority", b"127.0.0.1"),
        (b":path", path.encode()),
    ]
    stream = connection.get_next_available_stream_id()
    connection.send_headers(stream, fields, end_stream=body is None)
    unsent = memoryview(body or b"")
    received = b""
    while True:
        while unsent and (size := _room(connection, stream, len(unsent))):
            connection.send_data(stream, unsent[:size].tobytes(), end_stream=size == len(unsent))
            unsent = unsent[size:]
        sock.sendall(connection.data_to_send())
        data = sock.recv(READ_SIZE)
        if not data:
            raise http.client.HTTPException("closed before the whole response")
        for event in connection.receive_data(data):
            if isinstance(event, h2.events.ResponseReceived):
                status = dict(event.headers)[b":status"]
                if status != b"200":
                    raise http.client.HTTPException(f"status {status.decode()} to {path}")
            elif isinstance(event, h2.events.DataReceived):
                received += event.data
                connection.acknowledge_received_data(event.flow_controlled_length, stream)
            elif isinstance(event, h2.events.StreamEnded):
                return received
            elif isinstance(event, h2.events.StreamReset | h2.events.ConnectionTerminated):
                raise http.client.HTTPException(f"{type(event).__name__} {event.error_code!r}")


def _room(connection: h2.connection.H2Connection, stream: int, size: int) -> int:
    """How much of `size` bytes may go now."""
    window = connection.local_flow_control_window(stream)
    return min(size, window, connection.max_outbound_frame_size)
