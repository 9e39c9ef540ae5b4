# SPDX-License-Identifier: MIT
"""Figures for statsd, under gunicorn's names (its instrument/statsd.py), once a second.

One task, ``run_statsd``. What it sends are differences between two snapshots: gunicorn sends a
datagram or three a request, this a few a second. Durations are known by bucket, how many and their
sum, so a bucket becomes one timer with their mean, and a sample rate that says how many it stands
for: count, sum and mean of all are exact at the receiver, percentiles to the width of a bucket.

UDP and Unix datagrams: what can't be sent is lost, and nothing waits for it.
"""

from __future__ import annotations

import errno
import logging
import math
import re
import socket
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import trio

from trioserve.addresses import TcpAddress, UnixAddress, parse_bind

if TYPE_CHECKING:
    from trioserve.config import MetricsOptions

__all__ = ["Difference", "datagrams", "run_statsd"]

_log = logging.getLogger("trioserve.error")

#: Seconds between two times that something is sent.
INTERVAL: Final = 1.0
#: Seconds that the figures may take, and a look-up of the host; and the last ones, at the end.
_COLLECT_TIMEOUT: Final = 5.0
_LAST_TIMEOUT: Final = 1.0
#: Seconds between two looks for an address that could not be found or connected to.
_RETRY_INTERVAL: Final = 10.0
#: What fits into an Ethernet frame of 1,500 bytes with the headers of IPv6, UDP and a tunnel.
MAX_DATAGRAM: Final = 1432

Status: TypeAlias = Mapping[str, Any]


async def run_statsd(
    config: MetricsOptions,
    collect: Callable[[], Awaitable[Status]],
    *,
    interval: float = INTERVAL,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Sends figures to ``config.statsd_host`` until cancelled.

    Args:
        config: the host, a prefix of names, tags of Datadog's.
        collect: the status of the server, as ``Controls.status`` gives it; ``stats`` and
            ``workers`` of it are read.
        interval: seconds between two of them.

    *Errors handled here*: whatever ``collect`` raises, and whatever the network says. The first of
    a row is logged, and when it works again.

    *Cancellation*: what was counted until then is sent, within a second.
    """
    sender = _Sender(config)
    difference = Difference()
    task_status.started()
    try:
        while True:
            await _send(sender, difference, collect)
            await trio.sleep(interval)
    finally:
        # The last second's figures, for which a stop may wait a moment.
        with trio.move_on_after(_LAST_TIMEOUT, shield=True):
            await _send(sender, difference, collect)
        sender.close()


async def _send(
    sender: _Sender, difference: Difference, collect: Callable[[], Awaitable[Status]]
) -> None:
    try:
        with trio.fail_after(_COLLECT_TIMEOUT):
            status = await collect()
        figures = list(difference.to(status))
    except Exception as exc:  # a border: what the figures are made from is all of the server
        sender.complain("there are no figures for statsd", exc)
        return
    await sender.send(figures)


# -- what is sent ---------------------------------------------------------------------------


class Difference:
    """What has happened since the last snapshot, as statsd has it: ``name:value|type``."""

    def __init__(self) -> None:
        self._before: Status = {}
        self._workers: int | None = None

    def to(self, status: Status) -> Iterator[str]:
        """The figures up to this status, which the next ones begin at."""
        workers = len(status["workers"])
        if workers != self._workers:  # as gunicorn: a gauge keeps its value
            self._workers = workers
            yield f"gunicorn.workers:{workers}|g"
        stats = status["stats"]
        if stats is None:
            return
        before, self._before = self._before, stats
        if stats["requests_total"] < before.get("requests_total", 0):
            before = {}  # it was counted anew
        yield from _counter("gunicorn.requests", stats["requests_total"], before, "requests_total")
        yield from self._durations(stats["latency"], before.get("latency"))
        codes = _by_status(before)
        for code, count in sorted(_by_status(stats).items()):
            yield from _counter(f"gunicorn.request.status.{code}", count, codes, code)
        logs = before.get("logs", {})
        for level, count in sorted(stats["logs"].items()):
            if level in _LEVELS:
                yield from _counter(f"gunicorn.log.{level}", count, logs, level)

    def _durations(self, latency: Status, before: Status | None) -> Iterator[str]:
        size = len(latency["counts"])
        counts = before["counts"] if before is not None else [0] * size
        sums = before["sums"] if before is not None else [0.0] * size
        for count, total, old_count, old_total in zip(
            latency["counts"], latency["sums"], counts, sums, strict=True
        ):
            grown = count - old_count
            if grown:
                mean = max(0.0, total - old_total) / grown * 1000
                yield f"gunicorn.request.duration:{mean:.3f}|ms{_rate(grown)}"


#: Those that gunicorn counts.
_LEVELS: Final = frozenset(("critical", "error", "warning", "exception"))


def _counter(name: str, count: int, before: Status, key: str) -> Iterator[str]:
    grown = count - before.get(key, 0)
    if grown > 0:
        yield f"{name}:{grown}|c|@1.0"


def _by_status(stats: Status) -> dict[str, int]:
    found: dict[str, int] = {}
    for row in stats.get("requests", {}).values():
        for code, count in row.items():
            found[code] = found.get(code, 0) + count
    return found


def _rate(count: int) -> str:
    """The sample rate of one value that stands for so many.

    Receivers compute 1 / rate, and some cut it off: it must not come out a little below.
    """
    if count == 1:
        return ""
    rate = 1 / count
    while 1 / rate < count:
        rate = math.nextafter(rate, 0)
    return f"|@{rate!r}"


def datagrams(lines: Iterable[str], max_size: int = MAX_DATAGRAM) -> Iterator[bytes]:
    """As many lines in each as fit, a newline between two."""
    batch: list[bytes] = []
    size = -1
    for line in lines:
        data = line.encode()
        if batch and size + 1 + len(data) > max_size:
            yield b"\n".join(batch)
            batch, size = [], -1
        batch.append(data)
        size += 1 + len(data)
    if batch:
        yield b"\n".join(batch)


# -- how it is sent -------------------------------------------------------------------------


class _Sender:
    """A socket that is connected, as soon as its address is there to connect to."""

    def __init__(self, config: MetricsOptions) -> None:
        assert config.statsd_host is not None
        self._host = config.statsd_host
        # gunicorn's rule: one dot at its end, however many were given.
        self._prefix = re.sub(r"^(.+[^.]+)\.*$", r"\g<1>.", config.statsd_prefix)
        self._tags = f"|#{config.dogstatsd_tags}" if config.dogstatsd_tags else ""
        self._sock: socket.socket | None = None
        self._retry_at = -math.inf
        self._has_complained = False
        self._refused_at = -math.inf

    async def send(self, figures: list[str]) -> None:
        """Sends them, or loses them; never waits for the receiver."""
        if self._sock is None and not await self._connect():
            return
        assert self._sock is not None
        lines = (f"{self._prefix}{figure}{self._tags}" for figure in figures)
        try:
            for datagram in datagrams(lines):
                self._sock.send(datagram)
        except OSError as exc:
            self.complain(f"can't send to statsd at {self._host}", exc)
            if exc.errno == errno.ECONNREFUSED:
                self._refused_at = trio.current_time()
            if exc.errno not in _PASSING:
                self.close()
            return
        # That nobody listens is said of every other datagram only: one that is sent proves nothing.
        is_quiet = trio.current_time() >= self._refused_at + _RETRY_INTERVAL
        if figures and self._has_complained and is_quiet:
            self._has_complained = False
            _log.info("figures are sent to statsd at %s again", self._host)

    async def _connect(self) -> bool:
        now = trio.current_time()
        if now < self._retry_at:
            return False
        self._retry_at = now + _RETRY_INTERVAL
        sock: socket.socket | None = None
        try:
            family, address = await self._resolve()
            sock = socket.socket(family, socket.SOCK_DGRAM)
            sock.setblocking(False)
            sock.connect(address)
        except (OSError, trio.TooSlowError) as exc:
            if sock is not None:
                sock.close()
            self.complain(f"can't reach statsd at {self._host}", exc)
            return False
        self._sock = sock
        return True

    async def _resolve(self) -> tuple[int, Any]:
        address = parse_bind(self._host)
        if isinstance(address, UnixAddress):
            path = address.path
            return socket.AF_UNIX, f"\0{path[1:]}" if address.is_abstract else path
        assert isinstance(address, TcpAddress)
        with trio.fail_after(_COLLECT_TIMEOUT):
            found = await trio.socket.getaddrinfo(
                address.host, address.port, type=socket.SOCK_DGRAM
            )
        return found[0][0], found[0][4]

    def complain(self, what: str, exc: Exception) -> None:
        """Logs the first failure of a row."""
        if not self._has_complained:
            self._has_complained = True
            _log.warning("%s (%s: %s); it is tried again", what, type(exc).__name__, exc)

    def close(self) -> None:
        """Until the next try."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None


#: Nobody listens just now (an ICMP message of an earlier datagram), or the buffer is full.
_PASSING: Final = frozenset((errno.ECONNREFUSED, errno.EAGAIN, errno.ENOBUFS))
