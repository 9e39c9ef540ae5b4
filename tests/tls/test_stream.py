# SPDX-License-Identifier: MIT
"""TLS over a Trio stream, with trio.SSLStream as the client that is not ours."""

from __future__ import annotations

import contextlib
import ssl
from typing import TYPE_CHECKING

import attrs
import pytest
import trio
from trio.testing import memory_stream_pair, wait_all_tasks_blocked

from tests.transports.cancelling import cancelled_at, cancelled_at_each_await
from tests.transports.links import reset_on_close, tcp_pair
from trioserve.tls import TlsStream

from .authority import authority, client_context, contexts
from .client import TlsClientStream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    Client = trio.SSLStream[trio.abc.Stream]

DATA = b"".join(b"%07d\n" % number for number in range(250_000))  # 2 MB


@attrs.frozen
class Pair:
    """Connected, and past the handshake.

    Attributes:
        wire: the client's end below TLS.
    """

    client: Client
    server: TlsStream
    wire: trio.abc.HalfCloseableStream


@contextlib.asynccontextmanager
async def open_pair(
    *,
    over_tcp: bool = False,
    polite: bool = False,
    context: ssl.SSLContext | None = None,
    version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
) -> AsyncIterator[Pair]:
    """A pair.

    Args:
        polite: the client says close_notify, and wants to hear it.
    """
    wire: trio.abc.HalfCloseableStream
    theirs: trio.abc.HalfCloseableStream
    wire, theirs = memory_stream_pair()
    if over_tcp:
        wire, theirs = (
            trio.SocketStream(trio.socket.from_stdlib_socket(sock)) for sock in tcp_pair()
        )
    context = context or client_context()
    context.maximum_version = version
    client: Client = trio.SSLStream(
        wire, context, server_hostname="localhost", https_compatible=not polite
    )
    server = TlsStream(theirs, contexts().current(0))
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.do_handshake)
            await server.do_handshake()
        try:
            yield Pair(client, server, wire)
        finally:
            await trio.aclose_forcefully(client)
            await trio.aclose_forcefully(server)


VERSIONS = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])


@VERSIONS
@pytest.mark.parametrize("over_tcp", [False, True])
async def test_bytes_arrive_in_both_directions_at_once(
    version: ssl.TLSVersion, over_tcp: bool
) -> None:
    async with (
        open_pair(version=version, over_tcp=over_tcp) as pair,
        trio.open_nursery() as nursery,
    ):
        received: dict[str, bytearray] = {"client": bytearray(), "server": bytearray()}

        async def receive(name: str, stream: trio.abc.Stream) -> None:
            while len(received[name]) < len(DATA):
                received[name] += await stream.receive_some()

        nursery.start_soon(pair.client.send_all, DATA)
        nursery.start_soon(pair.server.send_all, DATA)
        nursery.start_soon(receive, "client", pair.client)
        nursery.start_soon(receive, "server", pair.server)
    assert received == {"client": DATA, "server": DATA}


@VERSIONS
async def test_what_was_agreed_on_can_be_asked_for(version: ssl.TLSVersion) -> None:
    context = client_context(alpn=["http/1.1"])
    async with open_pair(version=version, context=context) as pair:
        assert pair.server.version == pair.client.version()
        assert pair.server.cipher == pair.client.cipher()[0]
        assert pair.server.application_protocol == "http/1.1"
        assert pair.server.client_certificates == ()
        certificate = pair.client.getpeercert(binary_form=True)
        assert pair.server.server_certificate == ssl.DER_cert_to_PEM_cert(certificate)


async def test_reading_takes_no_more_than_it_is_asked_for_and_loses_nothing() -> None:
    async with open_pair(over_tcp=True) as pair, trio.open_nursery() as nursery:
        nursery.start_soon(pair.client.send_all, DATA[:50_000])
        received = b""
        while len(received) < 50_000:
            data = await pair.server.receive_some(7000)
            assert 0 < len(data) <= 7000
            received += data
        assert received == DATA[:50_000]


async def test_records_that_have_come_are_handed_out_together() -> None:
    async with open_pair(over_tcp=True) as pair:
        for start in range(0, 1000, 100):
            await pair.client.send_all(DATA[start : start + 100])
        await wait_all_tasks_blocked(0.01)
        assert await pair.server.receive_some() == DATA[:1000]


async def test_no_session_ticket_leaves_before_the_first_data() -> None:
    async with open_pair() as pair:
        await wait_all_tasks_blocked()
        assert isinstance(pair.wire, trio.StapledStream)
        assert pair.wire.receive_stream.close_hook is None
        with trio.move_on_after(0) as nothing:
            await pair.wire.receive_some()
        assert nothing.cancelled_caught


async def test_writers_take_turns() -> None:
    async with open_pair() as pair, trio.open_nursery() as nursery:
        for letter in b"ab":
            nursery.start_soon(pair.server.send_all, bytes([letter]) * 100_000)
        received = b""
        while len(received) < 200_000:
            received += await pair.client.receive_some()
        assert {received[:100_000], received[100_000:]} == {b"a" * 100_000, b"b" * 100_000}


async def test_what_is_held_between_two_messages_is_little_whatever_their_size() -> None:
    async with open_pair(over_tcp=True) as pair:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pair.client.send_all, DATA)
            size = 0
            while size < len(DATA):
                size += len(await pair.server.receive_some())
            nursery.start_soon(pair.server.send_all, DATA)
            while size:
                size -= len(await pair.client.receive_some())
        assert pair.server._incoming.pending == 0
        assert pair.server._outgoing.pending == 0
        assert pair.server._received.nbytes == 0
        assert pair.server._received.obj == b""


# -- ends ---------------------------------------------------------------------------------------


@VERSIONS
@pytest.mark.parametrize("over_tcp", [False, True])
async def test_an_end_of_writing_is_a_close_notify_and_reading_goes_on(
    version: ssl.TLSVersion, over_tcp: bool
) -> None:
    async with open_pair(version=version, over_tcp=over_tcp, polite=True) as pair:
        await pair.client.send_all(b"not read yet")
        await wait_all_tasks_blocked(0.01)
        await pair.server.send_all(b"last")
        await pair.server.send_eof()
        await pair.server.send_eof()
        assert await pair.client.receive_some() == b"last"
        assert await pair.client.receive_some() == b""  # a BrokenResourceError without it
        assert await pair.server.receive_some() == b"not read yet"
        await pair.client.send_all(b"more")
        assert await pair.server.receive_some() == b"more"
        with pytest.raises(trio.ClosedResourceError):
            await pair.server.send_all(b"x")


async def test_an_end_of_writing_does_not_lose_what_had_come_but_was_not_asked_for() -> None:
    async with open_pair(over_tcp=True) as pair:
        await pair.client.send_all(DATA[:60_000])
        await wait_all_tasks_blocked(0.01)
        received = await pair.server.receive_some(1)
        await pair.server.send_eof()
        while len(received) < 60_000:
            received += await pair.server.receive_some()
        assert received == DATA[:60_000]


async def test_closing_is_a_close_notify() -> None:
    async with open_pair(polite=True) as pair:
        await pair.server.aclose()
        await pair.server.aclose()
        assert await pair.client.receive_some() == b""
        for use in (pair.server.receive_some, pair.server.wait_send_all_might_not_block):
            with pytest.raises(trio.ClosedResourceError):
                await use()


async def test_closing_by_force_is_none() -> None:
    async with open_pair(polite=True) as pair:
        await trio.aclose_forcefully(pair.server)
        with pytest.raises(trio.BrokenResourceError):
            await pair.client.receive_some()


@pytest.mark.parametrize("end", ["close_notify", "nothing", "half a record"])
async def test_a_client_that_ends_is_an_end_however_it_does(end: str) -> None:
    async with open_pair(over_tcp=True, polite=end == "close_notify") as pair:
        await pair.client.send_all(b"last")
        if end == "half a record":
            await pair.wire.send_all(b"\x17\x03\x03\x01\x00half")
        await pair.client.aclose()
        assert await pair.server.receive_some() == b"last"
        assert await pair.server.receive_some() == b""
        assert await pair.server.receive_some() == b""


async def test_a_reset_is_a_broken_stream() -> None:
    client, theirs = tcp_pair()
    async with trio.open_nursery() as nursery:
        wire = trio.SocketStream(trio.socket.from_stdlib_socket(client))
        ours = TlsClientStream(wire)
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(theirs))
        server = TlsStream(stream, contexts().current(0))
        nursery.start_soon(ours.do_handshake)
        await server.do_handshake()
    reset_on_close(client)
    await trio.aclose_forcefully(ours)
    with pytest.raises(trio.BrokenResourceError):
        await server.receive_some()
    with pytest.raises(trio.BrokenResourceError):
        await server.send_all(b"x")
    await server.aclose()
    assert theirs.fileno() == -1


async def test_bytes_that_are_no_record_break_the_stream_after_what_was_good() -> None:
    async with open_pair(over_tcp=True) as pair:
        await pair.client.send_all(b"good")
        await pair.wire.send_all(b"\x17\x03\x03\x00\x20" + b"x" * 32)
        await wait_all_tasks_blocked(0.01)
        assert await pair.server.receive_some() == b"good"
        with pytest.raises(trio.BrokenResourceError):
            await pair.server.receive_some()
        with pytest.raises(trio.BrokenResourceError):
            await pair.server.send_all(b"x")


async def test_a_write_that_was_cut_short_breaks_the_stream_and_says_no_goodbye() -> None:
    client, theirs = tcp_pair(8192)
    async with trio.open_nursery() as nursery:
        ours = TlsClientStream(trio.SocketStream(trio.socket.from_stdlib_socket(client)))
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(theirs))
        server = TlsStream(stream, contexts().current(0))
        nursery.start_soon(ours.do_handshake)
        await server.do_handshake()
    with trio.move_on_after(0.01) as cut:
        await server.send_all(DATA)
    assert cut.cancelled_caught
    with pytest.raises(trio.BrokenResourceError):
        await server.send_all(b"x")
    await server.aclose()
    received = b""
    while data := await ours.receive_some():
        received += data
    assert DATA.startswith(received)
    await trio.aclose_forcefully(ours)


async def test_a_send_that_finds_its_reader_waiting_does_not_wait_for_it() -> None:
    async with open_pair() as pair, trio.open_nursery() as nursery:
        nursery.start_soon(pair.server.receive_some)
        await wait_all_tasks_blocked()
        await pair.server.send_all(b"x")
        await pair.server.send_all(b"")
        await pair.server.wait_send_all_might_not_block()
        assert await pair.client.receive_some() == b"x"
        nursery.cancel_scope.cancel()


# -- handshakes ---------------------------------------------------------------------------------


async def test_a_handshake_that_fails_tells_the_client_why() -> None:
    wire, theirs = memory_stream_pair()
    context = client_context()
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
    server = TlsStream(theirs, contexts(tls_min_version="1.3").current(0))
    client: Client = trio.SSLStream(wire, context, server_hostname="localhost")
    async with trio.open_nursery() as nursery:

        async def fail() -> None:
            with pytest.raises(trio.BrokenResourceError) as caught:
                await client.do_handshake()
            assert "TLSV1_ALERT_PROTOCOL_VERSION" in str(caught.value.__cause__)

        nursery.start_soon(fail)
        with pytest.raises(ssl.SSLError, match="UNSUPPORTED_PROTOCOL"):
            await server.do_handshake()
    with pytest.raises(trio.BrokenResourceError):
        await server.send_all(b"x")
    await server.aclose()


async def test_a_handshake_goes_on_from_what_was_received_before() -> None:
    wire, theirs = memory_stream_pair()
    server = TlsStream(theirs, contexts().current(0))
    client = TlsClientStream(wire)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.do_handshake)
        first = await theirs.receive_some()
        await server.do_handshake(bytes(first))
        await server.send_all(b"x")
    assert await client.receive_some() == b"x"


async def test_a_handshake_takes_single_bytes() -> None:
    wire, theirs = memory_stream_pair()
    server = TlsStream(theirs, contexts().current(0))
    inner, outer = memory_stream_pair()
    client = TlsClientStream(inner)

    async def drip(source: trio.abc.Stream, target: trio.abc.Stream) -> None:
        while data := await source.receive_some():
            for byte in data:
                await target.send_all(bytes([byte]))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(drip, outer, wire)
        nursery.start_soon(drip, wire, outer)
        nursery.start_soon(client.send_all, b"hello")
        await server.do_handshake()
        assert await server.receive_some(1) == b"h"
        nursery.cancel_scope.cancel()


async def test_a_chain_that_a_client_sends_is_the_certificate_and_what_follows_it(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("ca")
    authority().cert_pem.write_to_path(str(folder / "ca.pem"))
    between = authority().create_child_ca()
    leaf = between.issue_cert("client@example.org")
    made = contexts(cert_reqs="required", ca_certs=folder / "ca.pem")
    wire, theirs = memory_stream_pair()
    server = TlsStream(theirs, made.current(0))
    client = TlsClientStream(wire, client_context(certificate=leaf))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.do_handshake)
        await server.do_handshake()
    sent = [ssl.PEM_cert_to_DER_cert(blob.bytes().decode()) for blob in leaf.cert_chain_pems]
    assert len(sent) == 2
    assert list(server.client_certificates) == sent


async def test_cancelling_anywhere_leaves_nothing_open() -> None:
    async def once(number: int) -> bool:
        client, theirs = tcp_pair()
        ours = TlsClientStream(trio.SocketStream(trio.socket.from_stdlib_socket(client)))
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(theirs))
        server = TlsStream(stream, contexts().current(0))

        async def converse() -> None:
            await server.do_handshake()
            assert await server.receive_some() == b"ping"
            await server.send_all(b"pong")
            with contextlib.suppress(trio.BrokenResourceError):  # the client is quick
                await server.send_eof()
            await server.aclose()

        async def ask() -> None:
            with contextlib.suppress(trio.BrokenResourceError):
                await ours.send_all(b"ping")
                assert await ours.receive_some() in (b"", b"pong")
            await ours.aclose()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            cancelled = await cancelled_at(number, converse)
            await server.aclose()
        assert theirs.fileno() == client.fileno() == -1
        return cancelled

    with trio.fail_after(20):
        assert await cancelled_at_each_await(once) > 5


async def test_a_client_whose_record_is_bad_is_told_so() -> None:
    """RFC 8446 section 6.2: an alert, before the connection is given up."""
    async with open_pair(version=ssl.TLSVersion.TLSv1_2) as pair:
        await pair.wire.send_all(b"\x17\x03\x03\x00\x28" + bytes(40))
        with pytest.raises(trio.BrokenResourceError):
            await pair.server.receive_some()
        alert = await pair.wire.receive_some()
        assert alert[0] == 21  # the content type of alerts (RFC 5246 section 6.2.1)
