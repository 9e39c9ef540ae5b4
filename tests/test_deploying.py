# SPDX-License-Identifier: MIT
"""The configurations of docs/deploying.md work, with the real nginx and HAProxy."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.plain_client import connect, get, request
from tests.server_process import REPOSITORY, running, serving
from tests.tools import find_tool

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.server_process import ServerProcess

#: Two processes of which one is a proxy; some 0.7 s each.
pytestmark = pytest.mark.slow

DEPLOYING = (REPOSITORY / "docs" / "deploying.md").read_text("utf-8")
EXAMPLES = REPOSITORY / "examples"

#: What nginx has elsewhere: its defaults are paths that only its Debian package can write to.
NGINX_FRAME = """
daemon off;
master_process off;
pid nginx.pid;
error_log stderr notice;
events {{}}
http {{
    access_log off;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    {server}
}}
"""

#: Tells the application's view of a request, through the middleware of docs/deploying.md.
SHOP = """
async def tell(scope, receive, send):
    if scope["type"] != "http":
        raise RuntimeError("only HTTP is spoken here")
    host = dict(scope["headers"]).get(b"host", b"-").decode()
    client = scope["client"][0] if scope["client"] else "-"  # HAProxy's own checks have none
    text = f"{scope['scheme']} {client} {host} {scope['path']}"
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": text.encode()})

app = ForwardedBy(tell)
"""


def block(language: str) -> str:
    """The only block of a language in the page."""
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", DEPLOYING, re.DOTALL | re.MULTILINE)
    return str(found)


def free_port() -> int:
    """A port that was free a moment ago: proxies can't be asked for a free one."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def nginx(sock: Path, directory: Path) -> Iterator[int]:
    """Runs nginx with the page's configuration in front of a socket; yields its port."""
    program = find_tool("nginx")
    port = free_port()
    server = block("nginx").replace("/run/shop/shop.sock", str(sock))
    server = server.replace("listen 80;", f"listen 127.0.0.1:{port};")
    config = directory / "nginx.conf"
    config.write_text(NGINX_FRAME.format(server=server))
    with running(program, "-p", directory, "-c", config) as proxy:
        proxy.stderr.wait_for("using the .* event method|start worker process|built by")
        wait_until_it_accepts(proxy, port)
        yield port
        problems = re.findall(r".*\[(?:warn|error|crit|alert|emerg)\].*", proxy.stderr.text)
        assert [line for line in problems if '"user" directive' not in line] == []


def wait_until_it_accepts(proxy: ServerProcess, port: int) -> None:
    """Proxies bind before they fork and say nothing after: the connection is the announcement."""
    while proxy.process.poll() is None:
        with contextlib.suppress(ConnectionRefusedError), connect(port):
            return
    raise AssertionError(proxy.stderr.text)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where both processes live; short, since a Unix socket's path is limited."""
    assert len(os.fspath(tmp_path)) < 90
    return tmp_path


def test_behind_nginx_the_application_sees_the_clients_address_and_host(directory: Path) -> None:
    (directory / "shop.py").write_text(block("python") + SHOP)
    sock = directory / "shop.sock"
    options = ("--keep-alive-timeout", "75")
    with (
        serving("shop:app", *options, app_dir=directory, bind=f"unix:{sock}") as server,
        nginx(sock, directory) as port,
    ):
        forged = [("x-forwarded-for", "192.0.2.66")]
        with connect(port) as client:
            for path in ("/", "/caf%C3%A9"):
                reply = client.request("GET", path, headers=forged)
                assert reply.status == 200
                assert reply.text.startswith("http 127.0.0.1 test /")
        assert server.stop() == 0
        assert "ERROR" not in server.stderr.text


def test_behind_nginx_uploads_and_streams_pass_and_a_leaving_client_is_noticed(
    directory: Path,
) -> None:
    sock = directory / "s.sock"
    with (
        serving("starlette_app:app", app_dir=EXAMPLES, bind=f"unix:{sock}") as server,
        nginx(sock, directory) as port,
    ):
        reply = request(port, "POST", "/digest", body=b"x" * 500_000)
        assert '"size":500000' in reply.text
        assert get(port, "/count?to=3").text == "0\n1\n2\n"
        assert server.stop() == 0
    with (
        serving("streaming:app", app_dir=EXAMPLES, bind=f"unix:{sock}") as server,
        nginx(sock, directory) as port,
    ):
        with connect(port) as client:
            client.send("GET", "/?interval=3600")
            client.begin()
            assert client.part() == b"id: 0\ndata: tick 0\n\n"  # not held back by a buffer
        server.stdout.wait_for("the reader left after 1 events")
        assert server.stop() == 0


def test_haproxy_accepts_its_configuration(directory: Path) -> None:
    program = find_tool("haproxy")
    config = directory / "haproxy.cfg"
    config.write_text(block("haproxy"))
    done = subprocess.run(
        [program, "-c", "-f", str(config)], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "[WARNING]" not in done.stderr, done.stderr


def test_behind_haproxy_the_application_answers(directory: Path) -> None:
    program = find_tool("haproxy")
    (directory / "shop.py").write_text(block("python") + SHOP)
    sock = directory / "shop.sock"
    port = free_port()
    text = block("haproxy").replace("/run/shop/shop.sock", str(sock))
    config = directory / "haproxy.cfg"
    config.write_text(text.replace("bind :80", f"bind 127.0.0.1:{port}"))
    with (
        serving("shop:app", app_dir=directory, bind=f"unix:{sock}") as server,
        running(program, "-db", "-f", config) as proxy,
    ):
        wait_until_it_accepts(proxy, port)
        assert get(port, "/x").text == "http 127.0.0.1 test /x"
        assert server.stop() == 0
