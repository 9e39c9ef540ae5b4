# SPDX-License-Identifier: MIT
"""The time before a connection: deadlines, clients that want something else, and stops."""

from __future__ import annotations

import contextlib
import logging
import random
import ssl
import sys
import warnings
from typing import TYPE_CHECKING

import h11
import pytest
import trio
import trustme
from trio.testing import MockClock, memory_stream_pair, wait_all_tasks_blocked

from trioserve.protocols.http1 import DefaultFields
from trioserve.tls import Handshake, TlsStream

from .authority import authority, client_context, contexts, issue, usual_files
from .client import TlsClientStream

if TYPE_CHECKING:
    from pathlib import Path

    from trio.testing import MemoryReceiveStream, MemorySendStream

    from trioserve.tls import TlsContexts

    Wire = trio.StapledStream[MemorySendStream, MemoryReceiveStream]

#: Seconds of tls_handshake_timeout where a test doesn't say another.
TIMEOUT = 10


def begin(nursery: trio.Nursery, tls: TlsContexts | None = None) -> tuple[Wire, Handshake, Outcome]:
    """A handshake in a task of its own, with the client's end of its stream."""
    wire, theirs = memory_stream_pair()
    handshake = Handshake(
        theirs,
        tls or contexts(),
        ("192.0.2.1", 4711),
        lambda: DefaultFields(b"\r\nserver: test", b""),
    )
    outcome = Outcome()
    nursery.start_soon(outcome.run, handshake)
    return wire, handshake, outcome


class Outcome:
    """What came of a handshake, and when; ``ended`` is False while it runs."""

    ended = False
    stream: TlsStream | None = None
    time = 0.0

    async def run(self, handshake: Handshake) -> None:
        self.stream = await handshake.run()
        self.time = trio.current_time()
        self.ended = True


def messages(log: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    assert all(record.exc_info is None for record in log.records)
    return [(record.levelname, record.getMessage()) for record in log.records]


async def received(wire: trio.abc.ReceiveStream) -> bytes:
    data = b""
    while more := await wire.receive_some():
        data += more
    return data


async def test_a_handshake_gives_a_stream() -> None:
    async with trio.open_nursery() as nursery:
        wire, _, outcome = begin(nursery)
        client = TlsClientStream(wire)
        await client.send_all(b"hello")
    assert outcome.stream is not None
    assert await outcome.stream.receive_some() == b"hello"


# -- deadlines ----------------------------------------------------------------------------------


@pytest.mark.parametrize("begun", [b"", b"\x16", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"])
async def test_a_client_that_stops_anywhere_is_closed_at_the_deadline(
    begun: bytes, autojump_clock: MockClock, log: pytest.LogCaptureFixture
) -> None:
    async with trio.open_nursery() as nursery:
        wire, _, outcome = begin(nursery)
        await wire.send_all(begun)
        assert await received(wire) == b""
    assert outcome.stream is None
    assert outcome.time == TIMEOUT
    assert messages(log) == [
        ("DEBUG", "no TLS with 192.0.2.1:4711: it took longer than tls_handshake_timeout")
    ]


async def test_trickling_does_not_move_the_deadline(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        wire, _, outcome = begin(nursery)
        for byte in b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03":
            await wire.send_all(bytes([byte]))
            await trio.sleep(0.9)
        assert not outcome.ended
    assert outcome.time == TIMEOUT


async def test_a_timeout_of_zero_is_none(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        wire, _, outcome = begin(nursery, contexts(tls_handshake_timeout=0))
        await trio.sleep(10_000)
        assert not outcome.ended
        await wire.aclose()
    assert outcome.ended


# -- what is not TLS ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "request_head",
    [
        b"GET / HTTP/1.1\r\nHost: h\r\n\r\n",
        b"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n",
        b"DELETE /x HTTP/1.0\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"G",
    ],
)
async def test_plain_http_is_told_that_this_is_https(
    request_head: bytes, autojump_clock: MockClock, log: pytest.LogCaptureFixture
) -> None:
    async with trio.open_nursery() as nursery:
        wire, _, outcome = begin(nursery)
        await wire.send_all(request_head)
        answer = await received(wire)
        assert not outcome.ended  # it reads on, so that no reset overtakes the answer
        await wire.aclose()
    assert outcome.stream is None
    parser = h11.Connection(h11.CLIENT)
    method = "HEAD" if request_head.startswith(b"HEAD") else "GET"
    parser.send(h11.Request(method=method, target="/", headers=[("host", "h")]))
    parser.receive_data(answer)
    parser.receive_data(b"")
    response = parser.next_event()
    assert isinstance(response, h11.Response)
    assert response.status_code == 400
    fields = dict(response.headers)
    assert fields[b"connection"] == b"close"
    assert fields[b"content-type"] == b"text/plain; charset=utf-8"
    assert fields[b"server"] == b"test"
    assert int(fields[b"content-length"]) > 0
    if method == "GET":
        body = parser.next_event()
        assert isinstance(body, h11.Data)
        assert b"this port speaks HTTPS" in body.data
        assert len(body.data) == int(fields[b"content-length"])
    assert [level for level, _ in messages(log)] == ["INFO"]


async def test_a_client_that_goes_on_in_plain_http_is_not_read_for_ever(
    autojump_clock: MockClock,
) -> None:
    async with trio.open_nursery() as nursery:
        wire, _, outcome = begin(nursery)
        with contextlib.suppress(trio.BrokenResourceError):
            while True:
                await wire.send_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n" * 1000)
    assert outcome.ended
    assert outcome.time < 1


async def test_a_client_that_stays_after_the_answer_is_closed_in_the_end(
    autojump_clock: MockClock,
) -> None:
    async with trio.open_nursery() as nursery:
        wire, _, outcome = begin(nursery)
        await wire.send_all(b"GET / HTTP/1.1\r\n\r\n")
    assert outcome.time == pytest.approx(5)


@pytest.mark.parametrize(
    "garbage",
    [b"\0" * 100, b"\x16\x03\x01\xff\xff", b"\x15\x03\x01\0\x02\x02\x28", b"\x17\x03\x03\0\x01x"],
)
async def test_garbage_ends_its_connection_with_a_line(
    garbage: bytes, autojump_clock: MockClock, log: pytest.LogCaptureFixture
) -> None:
    async with trio.open_nursery() as nursery:
        wire, _, outcome = begin(nursery)
        await wire.send_all(garbage)
    assert outcome.stream is None
    assert outcome.time < TIMEOUT
    ((level, message),) = messages(log)
    assert level == "INFO"
    assert message.startswith("no TLS with 192.0.2.1:4711: ")
    await wire.aclose()


# -- clients that leave, or don't fit -------------------------------------------------------------


@pytest.mark.parametrize("begun", [b"", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"])
async def test_a_client_that_leaves_is_a_line_for_debugging(
    begun: bytes, autojump_clock: MockClock, log: pytest.LogCaptureFixture
) -> None:
    async with trio.open_nursery() as nursery:
        wire, _, outcome = begin(nursery)
        await wire.send_all(begun)
        await wire.aclose()
    assert outcome.stream is None
    assert outcome.time == 0
    assert [level for level, _ in messages(log)] == ["DEBUG"]


async def _refused(
    client: ssl.SSLContext, tls: TlsContexts, reason: str, log: pytest.LogCaptureFixture
) -> None:
    async with trio.open_nursery() as nursery:
        wire, _, outcome = begin(nursery, tls)
        stream = TlsClientStream(wire, client)
        with contextlib.suppress(trio.BrokenResourceError):
            await stream.send_all(b"x")  # with TLS 1.3 a client is done before its server
        with pytest.raises(trio.BrokenResourceError):
            await stream.receive_some()
        await wire.aclose()
    assert outcome.stream is None
    ((level, message),) = messages(log)
    assert level == "INFO"
    assert reason in message


async def test_tls_1_1_is_refused(log: pytest.LogCaptureFixture) -> None:
    context = client_context()
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    await _refused(context, contexts(), "unsupported protocol", log)


async def test_tls_1_2_is_refused_where_1_3_is_the_least(log: pytest.LogCaptureFixture) -> None:
    context = client_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    await _refused(context, contexts(tls_min_version="1.3"), "unsupported protocol", log)


async def test_a_client_without_a_common_cipher_is_refused(log: pytest.LogCaptureFixture) -> None:
    context = client_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE+CHACHA20")
    await _refused(context, contexts(ciphers="ECDHE+AESGCM"), "no shared cipher", log)


async def test_a_client_that_does_not_trust_us_says_so(log: pytest.LogCaptureFixture) -> None:
    await _refused(ssl.create_default_context(), contexts(), "unknown ca", log)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize(
    ("mode", "certificate", "reason"),
    [
        ("none", "none", None),
        ("none", "ours", None),
        ("optional", "none", None),
        ("optional", "ours", None),
        ("optional", "another's", "certificate verify failed: unable to get local issuer"),
        ("required", "none", "peer did not return a certificate"),
        ("required", "ours", None),
        ("required", "another's", "certificate verify failed: unable to get local issuer"),
    ],
)
async def test_client_certificates(
    mode: str,
    certificate: str,
    reason: str | None,
    version: ssl.TLSVersion,
    tmp_path: Path,
    log: pytest.LogCaptureFixture,
) -> None:
    authority().cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    own = {
        "none": None,
        "ours": issue("ann@example.org"),
        "another's": trustme.CA().issue_cert("eve@example.org"),
    }[certificate]
    context = client_context(certificate=own)
    context.maximum_version = version
    options = {} if mode == "none" else {"ca_certs": tmp_path / "ca.pem"}
    tls = contexts(cert_reqs=mode, **options)
    if reason is not None:
        await _refused(context, tls, reason, log)
        return
    async with trio.open_nursery() as nursery:
        wire, _, outcome = begin(nursery, tls)
        await TlsClientStream(wire, context).send_all(b"x")
    assert outcome.stream is not None
    sent = mode != "none" and certificate == "ours"
    assert bool(outcome.stream.client_certificates) is sent


async def test_spoiled_beginnings_end_their_connections_only(
    autojump_clock: MockClock, log: pytest.LogCaptureFixture
) -> None:
    chance = random.Random(4711)
    certfile, keyfile = usual_files()
    tls = contexts(sni_certificate=[f"a.example={certfile},{keyfile}"])
    client = TlsClientStream(memory_stream_pair()[0])
    with contextlib.suppress(ssl.SSLWantReadError):
        client._tls.do_handshake()
    hello = client._outgoing.read()
    for _ in range(300):
        spoiled = bytearray(hello)
        for _ in range(chance.randrange(1, 6)):
            spoiled[chance.randrange(len(spoiled))] = chance.randrange(256)
        async with trio.open_nursery() as nursery:
            wire, _, outcome = begin(nursery, tls)
            with contextlib.suppress(trio.BrokenResourceError):
                await wire.send_all(spoiled[: chance.randrange(len(spoiled) * 2)])
            await wait_all_tasks_blocked()
            await wire.aclose()
        assert outcome.stream is None
    assert len(messages(log)) >= 300
    assert {record.levelname for record in log.records} <= {"DEBUG", "INFO"}


async def test_a_name_that_is_none_is_one_line_and_no_traceback(
    log: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    reported: list[object] = []
    report = reported.append
    monkeypatch.setattr(sys, "unraisablehook", report)
    certfile, keyfile = usual_files()
    tls = contexts(sni_certificate=[f"a.example={certfile},{keyfile}"])
    client = TlsClientStream(memory_stream_pair()[0])
    with contextlib.suppress(ssl.SSLWantReadError):
        client._tls.do_handshake()
    hello = client._outgoing.read().replace(b"localhost", b"local\xffost")
    async with trio.open_nursery() as nursery:
        wire, _, outcome = begin(nursery, tls)
        await wire.send_all(hello)
        assert await received(wire)  # the alert
        await wire.aclose()
    assert sys.unraisablehook is report
    assert outcome.stream is None
    assert reported == []
    ((level, message),) = messages(log)
    assert (level, message.startswith("no TLS with")) == ("INFO", True)


class Odd(trio.abc.Stream):
    """Fails in ways of its own."""

    closed = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        raise NotImplementedError

    async def wait_send_all_might_not_block(self) -> None:
        raise NotImplementedError

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        await trio.lowlevel.checkpoint()
        raise ZeroDivisionError

    async def aclose(self) -> None:
        self.closed = True
        await trio.lowlevel.checkpoint()


async def test_an_unknown_failure_is_logged_with_its_traceback_and_goes_no_further(
    log: pytest.LogCaptureFixture,
) -> None:
    stream = Odd()
    handshake = Handshake(stream, contexts(), None, lambda: DefaultFields(b"", b""))
    assert await handshake.run() is None
    assert stream.closed
    assert "ZeroDivisionError" in log.text


# -- stops --------------------------------------------------------------------------------------


async def test_a_stop_ends_what_has_not_begun(
    autojump_clock: MockClock, log: pytest.LogCaptureFixture
) -> None:
    async with trio.open_nursery() as nursery:
        _, handshake, outcome = begin(nursery)
        await wait_all_tasks_blocked()
        handshake.drain()
    assert (outcome.stream, outcome.time) == (None, 0)
    assert log.records == []


async def test_a_stop_lets_a_handshake_that_has_begun_end(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        wire, handshake, outcome = begin(nursery)
        inner, outer = memory_stream_pair()
        client = TlsClientStream(inner)
        nursery.start_soon(client.send_all, b"x")
        await wire.send_all(await outer.receive_some(50))
        await wait_all_tasks_blocked()
        handshake.drain()
        for _ in range(3):
            with trio.move_on_after(1):
                await wire.send_all(await outer.receive_some())
            with trio.move_on_after(1):
                await outer.send_all(await wire.receive_some())
    assert outcome.stream is not None
    assert await outcome.stream.receive_some() == b"x"


async def test_a_stop_does_not_wait_for_a_client_that_was_answered(
    autojump_clock: MockClock, log: pytest.LogCaptureFixture
) -> None:
    async with trio.open_nursery() as nursery:
        wire, handshake, outcome = begin(nursery)
        await wire.send_all(b"GET / HTTP/1.1\r\n\r\n")
        assert await received(wire)
        handshake.drain()
    assert (outcome.stream, outcome.time) == (None, 0)
    assert [record.levelno for record in log.records] == [logging.INFO]


async def test_a_handshake_that_is_cancelled_closes_its_stream() -> None:
    async with trio.open_nursery() as nursery:
        wire, _, _ = begin(nursery)
        await wire.send_all(b"\x16\x03")
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert await wire.receive_some() == b""
