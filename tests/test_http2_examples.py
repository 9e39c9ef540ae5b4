# SPDX-License-Identifier: MIT
"""The example of HTTP/2 runs through the real command, and its client sees what it shows."""

from __future__ import annotations

import re
import sys

import pytest

from tests.plain_client import connect, request
from tests.server_process import REPOSITORY, TRIOSERVE, running, serving

EXAMPLE = REPOSITORY / "examples" / "http2_features"

#: Each starts the server in a process of its own, as its user does.
pytestmark = pytest.mark.slow


def seen_by_client(port: int) -> str:
    """What the example's client prints."""
    client = EXAMPLE / "client.py"
    with running(sys.executable, "-W", "error", client, f"127.0.0.1:{port}") as program:
        assert program.wait() == 0, program.stderr.text
        return program.stdout.text


@pytest.mark.parametrize("engine", ["native", "h2", "jh2"])
def test_http2_features_are_seen_by_the_client_with_every_engine(engine: str) -> None:
    if engine == "jh2":
        pytest.importorskip("jh2")
    with serving("app:app", "--http2-engine", engine, app_dir=EXAMPLE) as server:
        seen = seen_by_client(server.port)
        assert server.stop() == 0
        assert "ERROR" not in server.stderr.text
    hints, priorities, overtaking, trailers = re.split(
        r"^(?:early hints and trailers|priorities|overtaking|request trailers)\n", seen, flags=re.M
    )[1:]
    assert "103 ahead of the response: [('link', '</style.css>; rel=preload; as=style')]" in hints
    assert re.search(r"trailers after it: \[\('server-timing', 'page;dur=[\d.]+'\)\]", hints)
    asked = r"by ([\w ]+).*: \{'urgency': (\d), 'incremental': (\w+), 'weight': (\d+)"
    said = re.findall(asked, priorities)
    assert said == [
        ("default", "3", "False", "16"),
        ("a header field", "1", "True", "16"),
        ("PRIORITY_UPDATE", "6", "False", "16"),
        ("RFC 7540", "3", "False", "200"),
    ]
    first, urgent, rest = re.findall(r"([\d,]+) bytes of (.*)", overtaking)
    assert urgent == ("20,000", "the urgent one (u=1)")
    assert first[1] == rest[1] == "the long report (u=6)"
    told = re.findall(r"\[102\], then (.*)", trailers)
    assert told == ["200 the digest is right", "400 the digest is wrong", "200 no digest came"]


def test_http2_features_are_run_by_the_bare_command_in_their_folder() -> None:
    with running(TRIOSERVE, "--bind", "127.0.0.1:0", cwd=EXAMPLE) as server:
        assert "overtaking" in seen_by_client(server.port)
        assert server.stop() == 0
        assert server.stdout.text.count("HTTP/2") == 10  # the access log


def test_http2_features_answer_over_http1_as_well() -> None:
    with serving("app:app", app_dir=EXAMPLE) as server:
        with connect(server.port) as client:
            page = client.request("GET", "/")
            assert [status for status, _ in page.interim] == [103]
            assert page.trailers["server-timing"].startswith("page;dur=")
            assert client.request("GET", "/priority").text == "null\n"
            assert client.request("GET", "/nowhere").status == 404
        assert '"no digest came"' in request(server.port, "POST", "/upload", body=b"x").text
        assert server.stop() == 0
        assert "ERROR" not in server.stderr.text
