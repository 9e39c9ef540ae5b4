# SPDX-License-Identifier: MIT
"""The ``trioserve`` command as its operator knows it: signals, exit codes, sockets, logs, memory.

Everything is real here: the process, the signals, the sockets, the load.
"""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pytest
import trio

from tests.plain_client import connect, get
from tests.server_process import REPOSITORY, TRIOSERVE, running, serving
from tests.tools import find_tool

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from tests.server_process import ServerProcess

TESTS = REPOSITORY / "tests"

#: Each starts at least one Python with a server in it, which alone takes about half a second.
pytestmark = pytest.mark.slow


def serve_app(*options: str, bind: str = "127.0.0.1:0") -> AbstractContextManager[ServerProcess]:
    """Serves process_app.app."""
    return serving("process_app:app", *options, app_dir=TESTS, bind=bind)


# -- stopping -------------------------------------------------------------------------------


@attrs.define
class Tally:
    """What 32 clients have seen."""

    answered: int = 0
    lost: list[str] = attrs.Factory(list)
    enough: trio.Event = attrs.Factory(trio.Event)


async def hammer(port: int, path: str, tally: Tally) -> None:
    """Sends request after request on one connection until the server ends it."""
    request = f"GET {path} HTTP/1.1\r\nhost: test\r\n\r\n".encode()
    with trio.socket.socket() as sock:
        await sock.connect(("127.0.0.1", port))
        while await send_unless_closed(sock, request):
            response = b""
            try:
                while not response.endswith(b"\r\n\r\nok\n"):
                    data = await sock.recv(65536)
                    if not data:
                        break
                    response += data
            except ConnectionResetError:
                # Only data that waited unread at the server's close makes a reset of it; data that
                # comes after its FIN finds an end of file here.
                tally.lost.append(f"reset after {response!r}")
                return
            if not response.endswith(b"\r\n\r\nok\n"):
                if response:
                    tally.lost.append(f"cut short: {response!r}")
                return  # the server's FIN and our request have crossed
            tally.answered += 1
            if tally.answered == 3000:
                tally.enough.set()
            if b"\r\nconnection: close\r\n" in response.lower():
                return


async def send_unless_closed(sock: trio.socket.SocketType, request: bytes) -> bool:
    """Sends in one go; False if the server has closed already."""
    try:
        if sock.is_readable():  # no response is due: this is its FIN
            return False
        assert await sock.send(request) == len(request)
    except (BrokenPipeError, ConnectionResetError):
        return False
    return True


@pytest.mark.parametrize("path", ["/", "/slow"])
async def test_sigterm_under_load_loses_no_request_that_had_begun(path: str) -> None:
    tally = Tally()
    with serve_app("--no-access-log") as server:
        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                for _ in range(32):
                    nursery.start_soon(hammer, server.port, path, tally)
                await tally.enough.wait()
                server.send_signal(signal.SIGTERM)
        assert not tally.lost
        assert server.wait() == 0
        shutdown = server.stdout.wait_for(r"lifespan\.shutdown, (\d+) requests begun")
        assert tally.answered == int(shutdown[1])
        assert "ERROR" not in server.stderr.text


def test_a_request_under_way_is_answered_after_sigterm_and_new_ones_are_refused() -> None:
    with serving("background:app", app_dir=REPOSITORY / "examples") as server:
        with connect(server.port) as client:
            client.request("POST", "/jobs?seconds=0.5")
            client.send("GET", "/jobs/1")
            # The server sees one request after the other, so this tells that the job's is there.
            assert get(server.port, "/jobs/99").status == 404
            server.send_signal(signal.SIGTERM)
            server.stderr.wait_for("SIGTERM: stopping")
            reply = client.reply()
        assert (reply.status, reply.text) == (200, "done\n")
        assert reply.headers["connection"] == "close"
        with pytest.raises(ConnectionRefusedError), connect(server.port):
            pass
        assert server.wait() == 0


@pytest.mark.parametrize(
    ("first", "second", "code"),
    [
        (signal.SIGTERM, signal.SIGTERM, 143),
        (signal.SIGTERM, signal.SIGINT, 130),
        (signal.SIGTERM, signal.SIGQUIT, 131),
    ],
)
def test_a_second_signal_stops_now_and_shows_in_the_exit_code(
    first: signal.Signals, second: signal.Signals, code: int
) -> None:
    with serve_app() as server, connect(server.port) as client:
        client.send("GET", "/hang")
        server.stdout.wait_for("hanging")
        server.send_signal(first)
        server.stderr.wait_for(f"{first.name}: stopping; requests under way have 30 s")
        server.send_signal(second)
        assert server.wait() == code
        server.stdout.wait_for("cancelled")
        server.stdout.wait_for(r"lifespan\.shutdown, ")
        server.stderr.wait_for(f"{second.name} again: stopping now")
        assert "Traceback" not in server.stderr.text


def test_an_idle_connection_does_not_delay_a_stop() -> None:
    with serve_app("--keep-alive-timeout", "60") as server, connect(server.port) as client:
        assert client.request("GET", "/").status == 200
        with socket.create_connection(("127.0.0.1", server.port)):  # says nothing at all
            assert server.stop() == 0
        assert client.sock.recv(1) == b""


def test_half_a_request_holds_a_stop_up_for_graceful_timeout_at_most() -> None:
    with serve_app("--graceful-timeout", "0.2") as server, connect(server.port) as client:
        client.sock.sendall(b"GET / HTTP/1.1\r\nhost:")
        assert server.stop() == 0
        assert "Traceback" not in server.stderr.text


def test_graceful_timeout_cuts_a_hanging_request() -> None:
    with serve_app("--graceful-timeout", "0.2") as server, connect(server.port) as client:
        client.send("GET", "/hang")
        server.stdout.wait_for("hanging")
        assert server.stop() == 0
        server.stdout.wait_for("cancelled")
        assert "Traceback" not in server.stderr.text
        assert client.sock.recv(1) == b""  # never a fake response


def test_a_request_that_is_cut_at_the_stop_leaves_a_trace_in_the_log() -> None:
    with serve_app("--graceful-timeout", "0.2") as server, connect(server.port) as client:
        client.send("GET", "/hang")
        server.stdout.wait_for("hanging")
        assert server.stop() == 0
        server.stderr.wait_for(r"graceful_timeout \(0\.2 s\) is over")


@pytest.mark.slow  # the process is ended two seconds after its last timeout
@pytest.mark.parametrize("signals", [1, 2])
def test_a_thread_that_goes_on_can_not_hold_up_a_stop_for_ever(signals: int) -> None:
    timeouts = ("--graceful-timeout", "0.1", "--lifespan-shutdown-timeout", "0.1")
    with serve_app(*timeouts) as server, connect(server.port) as client:
        client.send("GET", "/thread")
        server.stdout.wait_for("blocking")
        for _ in range(signals):
            server.send_signal(signal.SIGTERM)
        assert server.wait() == 143
        server.stderr.wait_for("something blocks the event loop or a thread")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT])
def test_sigint_and_sigquit_cancel_requests_at_once_and_shut_the_application_down(
    number: signal.Signals,
) -> None:
    with serve_app() as server, connect(server.port) as client:
        client.send("GET", "/hang")
        server.stdout.wait_for("hanging")
        server.send_signal(number)
        assert server.wait() == 0
        server.stdout.wait_for("cancelled")
        server.stdout.wait_for(r"lifespan\.shutdown, ")
        server.stderr.wait_for(f"{number.name}: stopping now")
        assert "Traceback" not in server.stderr.text


def test_a_third_signal_ends_the_process_where_it_stands() -> None:
    with serve_app() as server, connect(server.port) as client:
        client.send("GET", "/thread")
        server.stdout.wait_for("blocking")
        server.send_signal(signal.SIGTERM)
        server.stderr.wait_for("SIGTERM: stopping")
        server.send_signal(signal.SIGTERM)
        server.stderr.wait_for("SIGTERM again")
        server.send_signal(signal.SIGTERM)
        assert server.wait() == -signal.SIGTERM


def test_the_application_gets_its_shutdown_after_the_last_request() -> None:
    with serve_app() as server:
        get(server.port)
        assert server.stop() == 0
        server.stdout.wait_for(r"lifespan\.startup, 0 requests begun")
        server.stdout.wait_for(r"lifespan\.shutdown, 1 requests begun")


def test_a_shutdown_that_never_ends_is_cut_by_its_own_timeout() -> None:
    app = "process_app:ignores_its_shutdown"
    with serving(app, "--lifespan-shutdown-timeout", "0.2", app_dir=TESTS) as server:
        assert server.stop() == 0
        server.stdout.wait_for(r"lifespan\.shutdown")
        server.stderr.wait_for("took longer than lifespan_shutdown_timeout")


# -- starting -------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_during_startup_ends_the_process_at_once(number: signal.Signals) -> None:
    command = (TRIOSERVE, "process_app:starts_never", "--app-dir", TESTS, "--bind", "127.0.0.1:0")
    with running(*command) as server:
        server.stdout.wait_for(r"lifespan\.startup")
        assert server.stop(number) == 0
        assert "serving" not in server.stderr.text
        assert "Traceback" not in server.stderr.text


def test_a_failed_startup_is_one_line_and_exit_code_3() -> None:
    command = (TRIOSERVE, "process_app:fails_to_start", "--app-dir", TESTS, "--bind", "127.0.0.1:0")
    with running(*command) as server:
        assert server.wait() == 3
        server.stderr.wait_for("startup failed: no database")
        assert len(server.stderr.lines) == 1


def test_a_port_in_use_is_one_line_and_exit_code_2() -> None:
    with socket.create_server(("127.0.0.1", 0)) as occupied:
        address = f"127.0.0.1:{occupied.getsockname()[1]}"
        with running(TRIOSERVE, "process_app:app", "--app-dir", TESTS, "--bind", address) as server:
            assert server.wait() == 2
            server.stderr.wait_for(f"trioserve: can't bind {address}: another process")
            assert len(server.stderr.lines) == 1
            assert server.stdout.lines == []  # the application was not started for nothing


def test_a_typo_in_an_option_is_one_line_and_exit_code_2() -> None:
    with running(TRIOSERVE, "process_app:app", "--app-dir", TESTS, "--bnid", "x") as server:
        assert server.wait() == 2
        server.stderr.wait_for("Unknown option: --bnid. Did you mean --bind?")
        assert len(server.stderr.lines) == 1


# -- sockets --------------------------------------------------------------------------------


def test_a_unix_socket_serves_and_is_unlinked_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    with serve_app(bind=f"unix:{path}") as server:
        assert server.address == f"unix:{path}"
        assert path.is_socket()
        assert get(str(path)).text == "ok\n"
        assert server.stop() == 0
        assert not path.exists()


def test_a_unix_socket_that_a_killed_server_left_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    with serve_app(bind=f"unix:{path}") as server:
        server.process.kill()
        server.wait()
    assert path.is_socket()
    with serve_app(bind=f"unix:{path}") as server:
        assert get(str(path)).text == "ok\n"
        assert server.stop() == 0
    assert not path.exists()


def test_several_binds_serve_one_application(tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    with serve_app("--bind", f"unix:{path}") as server:
        assert get(server.port).text == "ok\n"
        assert get(str(path)).text == "ok\n"
        assert server.stop() == 0
        server.stdout.wait_for(r"lifespan\.shutdown, 2 requests begun")


#: Becomes the command as systemd starts it: the socket is descriptor 3, LISTEN_PID its own pid.
SYSTEMD = """
import os, sys
given = int(sys.argv[1])
if given != 3:
    os.dup2(given, 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()), LISTEN_FDNAMES="shop.socket")
os.execv(sys.argv[2], sys.argv[2:])
"""


def test_a_socket_from_systemd_is_served_and_outlives_the_process() -> None:
    with socket.create_server(("127.0.0.1", 0)) as given:
        port = given.getsockname()[1]
        command = [sys.executable, "-c", SYSTEMD, str(given.fileno())]
        for _ in range(2):  # a restart finds the same socket
            # A client that comes before the server: its request waits in the socket's queue.
            with connect(port) as early:
                early.send("GET", "/")
                with running(
                    *command,
                    *(TRIOSERVE, "process_app:app", "--app-dir", TESTS),
                    pass_fds=[given.fileno()],
                ) as server:
                    assert early.reply().text == "ok\n"
                    assert server.port == port
                    assert server.stop() == 0


# -- logs -----------------------------------------------------------------------------------


def test_the_access_log_is_text_on_stdout() -> None:
    with serve_app() as server:
        get(server.port, "/a?b=c")
        server.stdout.wait_for(
            r'^127\.0\.0\.1 - - \[\d\d/\w+/\d{4}:[\d:]+ [+-]\d{4}\] "GET /a\?b=c HTTP/1\.1" '
            r'200 3 "-" "-"$'
        )
        assert server.stop() == 0


def test_the_logs_are_json_on_both_outputs() -> None:
    with running(
        *(TRIOSERVE, "process_app:app", "--app-dir", TESTS, "--bind", "127.0.0.1:0"),
        *("--log-format", "json"),
    ) as server:
        started = json.loads(server.stderr.wait_for(r"^\{.*trioserve is serving on .*\}$")[0])
        assert started["level"] == "INFO"
        port = int(re.findall(r"127\.0\.0\.1:(\d+)", started["message"])[0])
        get(port, "/a?b=c")
        get(port, "/boom")
        entry = json.loads(server.stdout.wait_for(r"^\{.*HTTP/1\.1.*\}$")[0])
        assert (entry["path"], entry["query"], entry["status"]) == ("/a", "b=c", 200)
        assert server.stop() == 0
        errors = [json.loads(line) for line in server.stderr.lines]
        (error,) = [record for record in errors if record["level"] == "ERROR"]
        assert error["exception"]["type"] == "ValueError"
        assert "the app's own mistake" in error["exception"]["traceback"]


def test_an_exception_of_the_application_is_logged_once_and_harms_nobody_else() -> None:
    with serve_app() as server:
        reply = get(server.port, "/boom")
        assert (reply.status, "mistake" in reply.text) == (500, False)
        assert get(server.port).status == 200
        assert server.stop() == 0
        assert server.stderr.text.count("ValueError: the app's own mistake") == 1
        assert server.stderr.text.count("Traceback") == 1


# -- memory ---------------------------------------------------------------------------------


def resident_kib(pid: int) -> int:
    """Resident memory, in KiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(r"^VmRSS:\s+(\d+) kB", status, re.MULTILINE)[0])


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_stays_flat_over_many_requests() -> None:
    wrk = find_tool("wrk")

    def load(seconds: int) -> int:
        command = [wrk, "-t1", "-c32", f"-d{seconds}s", f"http://127.0.0.1:{server.port}/"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        assert "Non-2xx" not in done.stdout
        assert "Socket errors" not in done.stdout
        return int(re.findall(r"(\d+) requests in", done.stdout)[0])

    with serve_app("--no-access-log") as server:
        load(1)
        before = resident_kib(server.process.pid)
        requests = 0
        while requests < 20_000:
            requests += load(1)
        growth = resident_kib(server.process.pid) - before
        assert growth <= 1024, f"{growth} KiB more after {requests} requests"
        assert server.stop() == 0
