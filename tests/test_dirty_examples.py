# SPDX-License-Identifier: MIT
"""The examples of the dirty pool run by one command, and do what they say they show."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests.dirty_leftovers import needs_proc, wait_until, workers_of
from tests.plain_client import connect, get, request
from tests.server_process import REPOSITORY, TRIOSERVE, running, serving
from trioserve.dirty import BlockingDirtyClient

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tests.server_process import ServerProcess

EXAMPLES = REPOSITORY / "examples"

#: Two primes just above 10**9: tens of seconds of trial division.
HARD = 1_000_000_007 * 1_000_000_009

#: All of these start a server and its workers, each a process of its own.
pytestmark = pytest.mark.slow


def serving_example(name: str, *options: str) -> AbstractContextManager[ServerProcess]:
    """Serves an example with its own settings."""
    folder = EXAMPLES / name
    return serving("app:app", "--config", str(folder / "trioserve.toml"), *options, app_dir=folder)


def json_of(port: int, target: str) -> Any:
    reply = get(port, target)
    assert reply.status == 200, reply.text
    return json.loads(reply.body)


@pytest.mark.parametrize("name", ["dirty_compute", "dirty_sessions", "dirty_stream"])
def test_one_command_runs_each(name: str) -> None:
    with running(TRIOSERVE, "--check-config", cwd=EXAMPLES / name) as command:
        assert command.wait() == 0
        command.stdout.wait_for("^ok$")
    make = shutil.which("make")
    if make is None:
        pytest.skip("there is no make")
    done = subprocess.run(
        [make, "--dry-run", "run", f"EXAMPLE={name}"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    folder = f"examples/{name}"
    assert f"app:app --app-dir {folder} --config {folder}/trioserve.toml" in done.stdout


# -- compute --------------------------------------------------------------------------------


def wait_for_primes(port: int, *, running: int, queued: int) -> None:
    """Until so many calls run and wait."""

    def is_so() -> bool:
        counters = json_of(port, "/status")["primes:Primes"]
        return (counters["running"], counters["queued"]) == (running, queued)

    wait_until(is_so, f"{running} running, {queued} queued")


def test_dirty_compute_factors_hashes_and_keeps_its_state() -> None:
    with serving_example("dirty_compute") as server:
        assert json_of(server.port, "/factor/600851475143")["factors"] == [71, 839, 1471, 6857]
        assert json_of(server.port, "/nth/10001") == {"prime": 104743}
        assert get(server.port, "/nth/0").status == 404
        hashed = json.loads(request(server.port, "POST", "/hash", body=b"correct horse").body)
        assert hashed["verified"]
        assert re.fullmatch(r"[0-9a-f]{16}\$[0-9a-f]{128}", hashed["hash"])
        late = get(server.port, f"/factor/{HARD}?timeout=0.2")
        assert (late.status, "0.2 s" in late.text) == (504, True)
        server.stdout.wait_for(f"gave up {HARD}")
        assert server.stop() == 0
        assert "ERROR" not in server.stderr.text


def test_dirty_compute_refuses_what_would_only_wait() -> None:
    options = ("--dirty-workers=1", "--dirty-queue-size=1", "--asgi-disconnect-grace-period=0")
    with serving_example("dirty_compute", *options) as server:
        with connect(server.port) as first, connect(server.port) as second:
            first.send("GET", f"/factor/{HARD}?timeout=60")
            wait_for_primes(server.port, running=1, queued=0)
            second.send("GET", f"/factor/{HARD}?timeout=60")
            wait_for_primes(server.port, running=1, queued=1)
            refused = get(server.port, "/factor/15")
            assert (refused.status, refused.headers["retry-after"]) == (503, "1")
            assert "1 calls wait" in refused.text
        # Both have left: one call is taken out of the queue, the other gives up.
        server.stdout.wait_for(f"gave up {HARD}")
        assert json_of(server.port, "/factor/15")["factors"] == [3, 5]
        assert server.stop() == 0
        assert server.stdout.text.count("gave up") == 1


# -- sessions -------------------------------------------------------------------------------


def place_of(path: Path) -> tuple[str, ...]:
    """Options of a server whose workers ``workers_of(path)`` finds."""
    return ("--dirty-socket", str(path), "--process-name", str(path))


@needs_proc
def test_dirty_sessions_survive_the_workers_and_count_without_races(tmp_path: Path) -> None:
    path = tmp_path / "dirty.sock"
    with (
        serving_example("dirty_sessions", *place_of(path)) as server,
        BlockingDirtyClient(str(path)) as pool,
    ):
        added = request(server.port, "POST", "/cart/teapot")
        cookie = added.headers["set-cookie"].partition(";")[0]
        key = cookie.removeprefix("session=")
        visitor = [("cookie", cookie)]
        request(server.port, "POST", "/cart/cup", headers=visitor)
        assert 0 < (pool.stash.ttl("sessions", key) or 0) <= 1800
        assert 0 < (pool.stash.ttl("requests", "127.0.0.1") or 0) <= 60

        assert pool.execute("visits:Report", "busiest") == []  # so there is a worker
        (worker,) = workers_of(path)
        os.kill(worker, signal.SIGKILL)
        server.stderr.wait_for("killed by SIGKILL")
        page = json.loads(request(server.port, "GET", "/pages/tea", headers=visitor).body)
        assert page == {"visits": 1, "cart": ["teapot", "cup"]}
        assert json_of(server.port, "/pages/tea") == {"visits": 2, "cart": []}
        report = json_of(server.port, "/report")
        assert report == {"busiest": [["tea", 2]], "carts": {"teapot": 1, "cup": 1}}

        request(server.port, "POST", "/logout", headers=visitor)
        assert pool.stash.keys("sessions") == []
        # The cookie of a session that is over makes no session of that name.
        again = request(server.port, "POST", "/cart/teapot", headers=visitor)
        assert again.headers["set-cookie"].partition(";")[0] != cookie
        assert server.stop() == 0


def test_dirty_sessions_have_a_rate_limit() -> None:
    with serving_example("dirty_sessions") as server, connect(server.port) as client:
        replies = [client.request("POST", "/cart/tea") for _ in range(101)]
        assert [reply.status for reply in replies] == [200] * 100 + [429]
        assert replies[-1].headers["retry-after"] == "60"
        assert server.stop() == 0


# -- streams --------------------------------------------------------------------------------


def test_dirty_stream_writes_word_by_word_until_its_reader_leaves() -> None:
    with serving_example("dirty_stream") as server:
        assert b"new EventSource(" in get(server.port).body
        whole = get(server.port, "/write?words=5&pause=0.001")
        assert whole.headers["content-type"] == "text/event-stream"
        assert re.fullmatch(r'(event: word\ndata: ".+"\n\n){5}event: end\ndata: ""\n\n', whole.text)
        server.stdout.wait_for("the writer stops after 5 of 5 words")
        # The next word of this one would be due in an hour: only the disconnect can end it.
        with connect(server.port) as client:
            client.send("GET", "/write?words=5&pause=3600")
            client.begin()
            assert (client.part() or b"").endswith(b"\n\n")
        server.stdout.wait_for("the writer stops after 1 of 5 words")
        assert get(server.port, "/nothing").status == 404
        assert server.stop() == 0
        assert "ERROR" not in server.stderr.text


@needs_proc
def test_dirty_stream_tells_its_reader_that_the_worker_died(tmp_path: Path) -> None:
    options = place_of(tmp_path / "dirty.sock")
    with serving_example("dirty_stream", *options) as server, connect(server.port) as client:
        client.send("GET", "/write?words=5&pause=3600")
        client.begin()
        assert (client.part() or b"").endswith(b"\n\n")
        (worker,) = workers_of(tmp_path)
        os.kill(worker, signal.SIGKILL)
        rest = b"".join(iter(client.part, None))
        assert re.fullmatch(rb'event: failed\ndata: ".+killed by SIGKILL.+"\n\n', rest)
        assert server.stop() == 0
