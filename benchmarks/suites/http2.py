# SPDX-License-Identifier: MIT
"""HTTP/2: plain text, bodies, TLS, and what a client that leaves in the middle leaves behind."""

from __future__ import annotations

import contextlib
import http.client
import time
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from benchmarks.apps.plaintext import BODY
from benchmarks.core.certificates import CertificateError, certificate
from benchmarks.core.comparison import MEAN_AND_MAX, load_table, raw, throughput_verdict
from benchmarks.core.http2 import Http2Workload, running_http2
from benchmarks.core.load import LoadError
from benchmarks.core.measure import Failure
from benchmarks.core.options import MEBIBYTE
from benchmarks.core.processes import StartError
from benchmarks.core.report import Findings, Table, Verdict
from benchmarks.core.rounds import progress, run_rounds
from benchmarks.core.suite import Suite

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.core.options import Options
    from benchmarks.core.processes import RunningServer
    from benchmarks.core.rounds import Round
    from benchmarks.core.servers import Server

APP = "benchmarks.apps.plaintext:app"
BODIES_APP = "benchmarks.apps.transfers:app"

CONNECTIONS, STREAMS = 8, 16
PLAIN = Http2Workload(
    "plaintext",
    "Plain text, cleartext",
    "/",
    CONNECTIONS,
    lambda body: body == BODY,
    streams=STREAMS,
)
OVER_TLS = replace(PLAIN, name="tls", title="Plain text over TLS", tls=True)


def _download(name: str, title: str, size: int, connections: int, streams: int) -> Http2Workload:
    return Http2Workload(
        name,
        title,
        f"/download/{size}",
        connections,
        lambda body: len(body) == size,
        streams=streams,
    )


BODIES = (
    _download("body-10k", "10 KiB response", 10_240, CONNECTIONS, STREAMS),
    _download("body-1m", "1 MiB response, 8 connections", MEBIBYTE, CONNECTIONS, 1),
    _download("body-1m-m8", "1 MiB response, one connection, 8 streams", MEBIBYTE, 1, 8),
    Http2Workload(
        "upload",
        "1 MiB upload, 8 connections",
        "/upload",
        CONNECTIONS,
        lambda body: body == b"%d" % MEBIBYTE,
        post=bytes(MEBIBYTE),
    ),
)
WITH_BODIES = (
    "trioserve",
    "trioserve-jh2",
    "hypercorn-trio",
    "gunicorn-http2",
    "granian-http2",
    "h2-alone",
)
WITH_TLS = WITH_BODIES
# Seconds that a server has to answer after its clients left in the middle.
RECOVERY = 3.0
CUT_OFFS = 3


@dataclass(frozen=True, slots=True)
class Recovery:
    """A server that goes on answering; seconds until it first did."""

    seconds: float


def run(options: Options, servers: Sequence[Server]) -> Findings:
    """Measures what the module says, and judges plain text by its targets."""
    tables: list[Table] = []
    found: dict[str, Any] = {}

    rounds = run_rounds(APP, servers, [PLAIN], options, running_http2)
    tables.append(load_table(PLAIN, servers, rounds, MEAN_AND_MAX))
    found["cleartext"] = raw(rounds)

    with_bodies = [server for server in servers if server.name in WITH_BODIES]
    if with_bodies:
        bodies = run_rounds(BODIES_APP, with_bodies, BODIES, options, running_http2)
        tables += [load_table(work, with_bodies, bodies, MEAN_AND_MAX) for work in BODIES]
        found["bodies"] = raw(bodies)

    with_tls = [server for server in servers if server.name in WITH_TLS]
    if with_tls:
        over_tls = _over_tls(with_tls, options)
        tables.append(load_table(OVER_TLS, with_tls, over_tls, MEAN_AND_MAX))
        found["tls"] = raw(over_tls)

    recoveries = {server.name: _recover(server) for server in servers}
    tables.append(_recovery_table(servers, recoveries))
    found["recovery"] = {name: asdict(outcome) for name, outcome in recoveries.items()}
    return Findings(options.loads(), tables, _verdicts(rounds, recoveries), found)


def _over_tls(servers: Sequence[Server], options: Options) -> list[Round]:
    try:
        with certificate() as made:

            def start(server: Server, app: str) -> contextlib.AbstractContextManager[RunningServer]:
                return running_http2(server, app, made)

            return run_rounds(APP, servers, [OVER_TLS], options, start)
    except CertificateError as exc:
        return [{OVER_TLS.name: {server.name: Failure(str(exc)) for server in servers}}]


def _recover(server: Server) -> Recovery | Failure:
    """Has h2load leave in the middle CUT_OFFS times; tells whether the server still answers."""
    try:
        with running_http2(server, APP) as target:
            for _ in range(CUT_OFFS):
                PLAIN.cut_off(target.port, 1)
                outcome = _answers(target)
                if isinstance(outcome, Failure):
                    break
    except (StartError, LoadError) as exc:
        outcome = Failure(str(exc))
    progress(f"cut off, {server.name}: {outcome}")
    return outcome


def _answers(target: RunningServer) -> Recovery | Failure:
    began = time.monotonic()
    for _ in _until(began + RECOVERY):
        with contextlib.suppress(OSError, http.client.HTTPException):
            PLAIN.fetch(target.port)
            return Recovery(time.monotonic() - began)
    return Failure("the server ended" if target.died() else "answers no more")


def _until(deadline: float) -> Iterator[None]:
    while time.monotonic() < deadline:
        yield
        time.sleep(0.05)


def _recovery_table(servers: Sequence[Server], recoveries: dict[str, Recovery | Failure]) -> Table:
    columns = ("server", "answers after s", "failure")
    rows = []
    for server in servers:
        outcome = recoveries[server.name]
        if isinstance(outcome, Failure):
            rows.append([server.label, "—", outcome.failure])
        else:
            rows.append([server.label, f"{outcome.seconds:.3f}", ""])
    title = f"After h2load left {CUT_OFFS} times in the middle of {CONNECTIONS * STREAMS} requests"
    return Table(title, columns, rows)


def _verdicts(rounds: Sequence[Round], recoveries: dict[str, Recovery | Failure]) -> list[Verdict]:
    name = PLAIN.name
    ours = recoveries.get("trioserve")
    return [
        throughput_verdict(rounds, name, "≥ 0.85 x the h2 library alone", ["h2-alone"], 0.85),
        throughput_verdict(rounds, name, "≥ 4 x hypercorn -k trio", ["hypercorn-trio"], 4),
        Verdict(
            "answers after clients left in the middle",
            "—" if ours is None else ours.failure if isinstance(ours, Failure) else "it does",
            None if ours is None else isinstance(ours, Recovery),
        ),
    ]


SUITE = Suite(
    name="http2",
    title="HTTP/2",
    about=(
        f"`h2load -t1 -c{CONNECTIONS} -m{STREAMS}` and a raw ASGI app; by prior knowledge, except"
        " where TLS is named. A response of 13 bytes, unless the table says otherwise. `trioserve`"
        " without more words has its own engine. A library alone is one task a connection on Trio,"
        " without ASGI and without limits. Errors are requests that got no 2xx or 3xx; one"
        " connection that is closed too early fails all that it still had to make."
    ),
    servers=(
        "trioserve",
        "trioserve-h2",
        "trioserve-jh2",
        "hypercorn-trio",
        "hypercorn-uvloop",
        "anycorn-trio",
        "gunicorn-http2",
        "granian-http2",
        "h2-alone",
        "jh2-alone",
    ),
    run=run,
    tools=("h2load",),
)
