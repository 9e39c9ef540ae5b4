# SPDX-License-Identifier: MIT
"""Every example runs through the real command, and does what it says it shows."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import signal
import socket
import sys
from pathlib import Path

import pytest

from tests.plain_client import connect, get, request
from tests.server_process import REPOSITORY, running, serving

EXAMPLES = REPOSITORY / "examples"

#: All of these start the server in a process of its own, as its user does.
pytestmark = pytest.mark.slow


def programs() -> list[Path]:
    """The examples: modules, and folders with an app.py."""
    return sorted([*EXAMPLES.glob("*.py"), *EXAMPLES.glob("*/app.py")])


def test_every_example_is_listed_and_tested_and_begins_with_what_it_shows() -> None:
    listed = (EXAMPLES / "README.md").read_text("utf-8")
    here = Path(__file__).parent
    tests = "".join(path.read_text("utf-8") for path in here.glob("test_*examples.py"))
    for program in programs():
        name = program.relative_to(EXAMPLES).as_posix()
        stem = program.stem if program.parent == EXAMPLES else program.parent.name
        assert f"({name})" in listed, name
        assert re.search(rf"^def test_{stem}(_|\()", tests, re.MULTILINE), name
        _, _, docstring = program.read_text("utf-8").partition('"""')
        assert re.search(r"^(trioserve|python|pytest) .*\b" + program.stem, docstring, re.MULTILINE)


def test_hello_answers_and_needs_no_lifespan() -> None:
    with serving("hello:app", app_dir=EXAMPLES) as server:
        with connect(server.port) as client:
            first, second = client.request("GET", "/"), client.request("GET", "/again")
        assert (first.status, first.body) == (200, b"Hello from Trio!\n")
        assert first.headers["content-type"] == "text/plain; charset=utf-8"
        assert second.body == first.body
        assert server.stop() == 0
        assert "ERROR" not in server.stderr.text


def test_streaming_stops_at_once_when_its_reader_leaves() -> None:
    with serving("streaming:app", app_dir=EXAMPLES) as server:
        with connect(server.port) as client:
            client.send("GET", "/?interval=0.001")
            status, headers, _ = client.begin()
            assert (status, headers["content-type"]) == (200, "text/event-stream")
            events = b""
            while b"data: tick 2\n\n" not in events:
                part = client.part()
                assert part is not None
                events += part
        assert events.startswith(b"id: 0\ndata: tick 0\n\nid: 1\n")
        server.stdout.wait_for("the reader left after [0-9]+ events")
        # The next event of this one would be due in an hour: only the disconnect can end it.
        with connect(server.port) as client:
            client.send("GET", "/?interval=3600")
            client.begin()
            assert client.part() == b"id: 0\ndata: tick 0\n\n"
        server.stdout.wait_for("the reader left after 1 events")
        assert server.stop() == 0
        assert "ERROR" not in server.stderr.text


def test_lifespan_opens_once_counts_and_closes() -> None:
    with serving("lifespan:app", "--lifespan", "on", app_dir=EXAMPLES) as server:
        visits = [get(server.port, "/a"), get(server.port, "/a"), get(server.port, "/b")]
        assert [visit.text for visit in visits] == [
            "visit 1 of /a\n",
            "visit 2 of /a\n",
            "visit 1 of /b\n",
        ]
        assert server.stop() == 0
        server.stdout.wait_for("the store closes after 3 visits")
        assert server.stdout.text.count("the store opens") == 1


def test_starlette_app_greets_streams_digests_and_works_in_the_background() -> None:
    with serving("starlette_app:app", app_dir=EXAMPLES) as server:
        assert get(server.port, "/greet/Ada").text == "Hello, Ada!\n"
        server.stdout.wait_for("greeted Ada")
        counted = get(server.port, "/count?to=4")
        assert counted.headers["transfer-encoding"] == "chunked"
        assert counted.text == "0\n1\n2\n3\n"
        upload = b"trio" * 100_000
        digest = request(server.port, "POST", "/digest", body=upload)
        assert json.loads(digest.body) == {
            "size": len(upload),
            "sha256": hashlib.sha256(upload).hexdigest(),
        }
        assert get(server.port, "/nowhere").status == 404
        assert server.stop() == 0
        server.stdout.wait_for("shut down")


def test_fastapi_app_validates_looks_up_and_cleans_up() -> None:
    with serving("fastapi_app:app", app_dir=EXAMPLES) as server:

        def order(item: str, quantity: int) -> tuple[int, dict[str, object]]:
            body = json.dumps({"item": item, "quantity": quantity}).encode()
            headers = [("content-type", "application/json")]
            reply = request(server.port, "POST", "/orders", headers=headers, body=body)
            return reply.status, json.loads(reply.body)

        assert order("tea", 2) == (201, {"total": 6})
        assert order("tea", 10) == (201, {"total": 20})
        assert order("gold", 1) == (404, {"detail": "there is no gold"})
        assert order("tea", 0)[0] == 422
        server.stdout.wait_for("session closed", count=3)
        assert json.loads(get(server.port, "/thread").body) == {"in_trio_thread": True}
        assert json.loads(get(server.port, "/openapi.json").body)["info"]["title"] == "Orders"
        assert server.stop() == 0
        assert "ERROR" not in server.stderr.text


def test_quart_trio_app_uses_nurseries_streams_and_runs_its_hooks() -> None:
    with serving("quart_trio_app:app", app_dir=EXAMPLES) as server:
        server.stdout.wait_for("before serving")
        assert json.loads(get(server.port, "/together").body) == {"one": 3, "three": 5}
        headers = [("content-type", "application/json")]
        echo = request(server.port, "POST", "/echo", headers=headers, body=b'{"a": [1]}')
        assert json.loads(echo.body) == {"you sent": {"a": [1]}}
        assert get(server.port, "/count").text == "0\n1\n2\n"
        assert server.stop() == 0
        server.stdout.wait_for("after serving")
        assert "ERROR" not in server.stderr.text


def test_programmatic_runs_two_servers_beside_its_own_task_and_stops_clean() -> None:
    with running(sys.executable, "-W", "error", EXAMPLES / "programmatic.py") as program:
        public = int(program.stdout.wait_for(r"public http://127\.0\.0\.1:(\d+)$")[1])
        admin = int(program.stdout.wait_for(r"admin http://127\.0\.0\.1:(\d+)$")[1])
        assert re.fullmatch(r"tick [1-9]\d*\n", get(public).text)
        assert get(admin).text.endswith("POST /stop ends this\n")
        with connect(public) as idle:  # an open connection doesn't hold the stop up
            assert idle.request("GET", "/").status == 200
            assert request(admin, "POST", "/stop").text == "stopping\n"
            assert program.wait() == 0
        program.stdout.wait_for("stopped after [1-9][0-9]* ticks")
        assert program.stderr.text == ""
        with pytest.raises(ConnectionRefusedError), connect(public):
            pass


def test_background_jobs_outlive_their_requests_and_a_stop_waits_for_them() -> None:
    with serving("background:app", app_dir=EXAMPLES) as server:
        started = request(server.port, "POST", "/jobs?seconds=0.05")
        assert (started.status, started.text) == (202, "job 1\n")
        assert get(server.port, "/jobs/1").text == "done\n"
        assert get(server.port, "/jobs/99").status == 404
        request(server.port, "POST", "/jobs?seconds=-1")
        assert get(server.port, "/jobs/2").text == "failed\n"
        server.stderr.wait_for("ValueError: job 2: time runs forwards only")
        request(server.port, "POST", "/jobs?seconds=0.5")
        assert server.stop() == 0
        server.stdout.wait_for("job 3 done")


def test_early_hints_and_trailers_surround_the_response() -> None:
    with serving("early_hints_and_trailers:app", app_dir=EXAMPLES) as server:
        page = get(server.port)
        assert page.status == 200
        assert [status for status, _ in page.interim] == [103]
        assert page.interim[0][1] == {"link": "</style.css>; rel=preload; as=style"}
        digest = base64.b64encode(hashlib.sha256(page.body).digest()).decode()
        assert page.headers["trailer"] == "repr-digest"
        assert page.trailers == {"repr-digest": f"sha-256=:{digest}:"}
        # HTTP/1.0 has neither, and the example knows.
        with socket.create_connection(("127.0.0.1", server.port), 20) as sock:
            sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
            old = b"".join(iter(lambda: sock.recv(65536), b""))
        assert old.startswith(b"HTTP/1.1 200 OK\r\n")
        assert old.endswith(b"\r\n\r\n" + page.body)
        assert b"digest" not in old
        assert server.stop() == 0
        assert "ERROR" not in server.stderr.text


def test_files_come_whole_in_ranges_and_as_a_download() -> None:
    static = EXAMPLES / "files" / "static"
    poem = (static / "poem.txt").read_bytes()
    with serving("app:app", app_dir=EXAMPLES / "files") as server:
        assert get(server.port).body == (static / "index.html").read_bytes()
        with connect(server.port) as client:
            whole = client.request("GET", "/poem.txt")
            assert whole.body == poem
            part = client.request("GET", "/poem.txt", headers=[("range", "bytes=2-8")])
            assert (part.status, part.body) == (206, poem[2:9])
            known = [("if-none-match", whole.headers["etag"])]
            assert client.request("GET", "/poem.txt", headers=known).status == 304
            download = client.request("GET", "/download")
        assert download.body == poem
        assert download.headers["content-disposition"] == 'attachment; filename="poem.txt"'
        assert get(server.port, "/../app.py").status == 404
        assert server.stop() == 0
        assert "ERROR" not in server.stderr.text


def test_testing_an_app_passes_in_no_time() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    with running(*command, EXAMPLES / "testing_an_app.py") as program:
        assert program.wait() == 0, program.stdout.text
        program.stdout.wait_for("2 passed")


def test_an_example_stops_on_ctrl_c_as_well() -> None:
    with serving("hello:app", app_dir=EXAMPLES) as server:
        assert server.stop(signal.SIGINT) == 0
        assert "Traceback" not in server.stderr.text
