# SPDX-License-Identifier: MIT
"""What docs/http2.md says of settings is so, and its proxies pass what it says they do."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Literal, get_args

import pytest

from tests.plain_client import connect, get
from tests.server_process import REPOSITORY, running, serving
from tests.test_deploying import NGINX_FRAME, free_port, wait_until_it_accepts
from tests.tools import find_tool
from trioserve import Config
from trioserve.config.settings import all_settings
from trioserve.protocols.http2 import floods, local_settings

if TYPE_CHECKING:
    from pathlib import Path

Profile = Literal["conservative", "balanced", "high-concurrency"]
PROFILES: tuple[Profile, ...] = get_args(Profile)

PAGE = (REPOSITORY / "docs" / "http2.md").read_text("utf-8")
FEATURES = REPOSITORY / "examples" / "http2_features"

#: Tells by which version of HTTP it was asked.
SHOP = """
async def app(scope, receive, send):
    if scope["type"] != "http":
        raise RuntimeError("only HTTP is spoken here")
    headers = dict(scope["headers"])
    text = f"{scope['http_version']} {headers.get(b'x-forwarded-for', b'-').decode()}"
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": text.encode()})
"""


def block(language: str) -> str:
    """The only block of a language in the page."""
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    return str(found)


def number(text: str) -> float:
    """A number of a table: ``1,000``, ``64 KiB``."""
    amount, _, unit = text.replace(",", "").partition(" ")
    return float(amount) * {"": 1, "KiB": 1024, "MiB": 1024**2}[unit]


def rows(name: str) -> list[list[str]]:
    """The cells of the table rows that begin with this in the page."""
    return [line.strip("| ").split(" | ") for line in PAGE.splitlines() if f"| {name}" in line[:60]]


# -- tables ---------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", PROFILES)
def test_a_profile_is_what_the_page_says(profile: Profile) -> None:
    (cells,) = [row for row in rows(f"`{profile}`") if len(row) == 6]
    streams, window, frame, head, bodies = map(number, cells[1:])
    found = local_settings(Config(http2_profile=profile))
    assert found.max_concurrent_streams == streams
    # A window of 65,535 bytes is HTTP/2's own, and called 64 KiB.
    assert found.initial_window_size in (window, window - 1)
    assert found.max_frame_size == frame
    assert found.max_header_list_size == head
    assert abs(found.connection_window_size - bodies) < 1024**2


def test_every_setting_of_http2_is_in_its_table() -> None:
    group = [name for name in all_settings() if name.startswith("http2_")]
    assert group
    for name in [*group, "http_protocols"]:
        assert f"| `{name}` |" in PAGE


def test_the_budgets_against_floods_are_what_the_page_says() -> None:
    (control,) = rows("PING")
    assert control[1:3] == [str(floods.MAX_CONTROL_FRAMES), str(floods.CONTROL_FRAMES_PER_SECOND)]
    (resets,) = rows("streams reset")
    assert resets[1:3] == [str(floods.MAX_RESETS), str(floods.RESETS_PER_SECOND)]
    (continuations,) = rows("CONTINUATION")
    assert continuations[1].strip() == str(floods.MAX_CONTINUATIONS)


# -- proxies --------------------------------------------------------------------------------


@pytest.mark.slow  # two processes of which one is a proxy
def test_nginx_speaks_http2_to_the_server_by_its_configuration(tmp_path: Path) -> None:
    program = find_tool("nginx")
    (tmp_path / "shop.py").write_text(SHOP)
    sock = tmp_path / "shop.sock"
    port = free_port()
    server = block("nginx").replace("/run/shop/shop.sock", str(sock))
    config = tmp_path / "nginx.conf"
    frame = NGINX_FRAME.format(server=server.replace("listen 80;", f"listen 127.0.0.1:{port};"))
    config.write_text(frame)
    with (
        serving("shop:app", app_dir=tmp_path, bind=f"unix:{sock}") as process,
        running(program, "-p", tmp_path, "-c", config) as proxy,
    ):
        wait_until_it_accepts(proxy, port)
        with connect(port) as client:
            for _ in range(3):
                assert client.request("GET", "/").text == "2 127.0.0.1"
        assert process.stop() == 0
        assert "ERROR" not in process.stderr.text


@pytest.mark.slow  # two processes of which one is a proxy
def test_haproxy_passes_hints_trailers_and_priorities_by_its_configuration(tmp_path: Path) -> None:
    program = find_tool("haproxy")
    sock = tmp_path / "s.sock"
    port = free_port()
    text = block("haproxy").replace("/run/shop/shop.sock", str(sock))
    text = text.replace("GET /health", "GET /priority")  # which the example has
    config = tmp_path / "haproxy.cfg"
    config.write_text(text.replace("bind :80", f"bind 127.0.0.1:{port}"))
    with (
        serving("app:app", app_dir=FEATURES, bind=f"unix:{sock}") as process,
        running(program, "-db", "-f", config) as proxy,
    ):
        wait_until_it_accepts(proxy, port)
        with connect(port) as client:
            page = client.request("GET", "/")
            assert [status for status, _ in page.interim] == [103]
            assert page.trailers["server-timing"].startswith("page;dur=")
            asked = client.request("GET", "/priority", headers=[("priority", "u=1, i")])
            assert '"urgency": 1, "incremental": true' in asked.text
        process.stdout.wait_for('"GET / HTTP/2" 200')
        assert get(port, "/report?size=300000").body.startswith(b"a line of the report")
        ask = f"import client; client.request_trailers(client.Client('127.0.0.1', {port}))"
        with running(sys.executable, "-c", ask, cwd=FEATURES) as seen:
            assert seen.wait() == 0, seen.stderr.text
            seen.stdout.wait_for("then 200 the digest is right")
            seen.stdout.wait_for("then 400 the digest is wrong")
        assert process.stop() == 0
        assert "ERROR" not in process.stderr.text
