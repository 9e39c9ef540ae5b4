# SPDX-License-Identifier: MIT
"""HTTP/2 over TLS, as real clients speak it: curl, nghttp, h2load and a browser."""

from __future__ import annotations

import json
import re
import subprocess
from typing import TYPE_CHECKING

import pytest

from .http2_engines import http2_engine
from .server_process import running, serving
from .tls.authority import authority, write_certificate
from .tools import find_tool

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .server_process import ServerProcess

__all__ = ["http2_engine"]

pytestmark = pytest.mark.slow  # each test starts processes

#: "/" is a page with 100 images, whose script says how many it has; "/seen" tells what came.
APP = '''
import base64
import json

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
PAGE = b"""<!doctype html><title>images</title><body><script>
let loaded = 0, broken = 0
const count = () => { document.body.dataset.seen = `loaded ${loaded}, broken ${broken}` }
for (let i = 0; i < 100; i++) {
  const image = new Image()
  image.onload = () => { loaded++; count() }
  image.onerror = () => { broken++; count() }
  image.src = `/image/${i}.png`
  document.body.append(image)
}
</script>"""
seen = []

async def app(scope, receive, send):
    if scope["type"] != "http":
        raise RuntimeError("only HTTP")
    path = scope["path"]
    kind, body = b"text/plain", b"Hello from Trio!"
    if path.startswith("/image/"):
        kind, body = b"image/png", PIXEL
    elif path == "/":
        kind, body = b"text/html", PAGE
    elif path == "/seen":
        body = json.dumps(seen).encode()
    elif path == "/echo":
        body = b""
        more = True
        while more:
            message = await receive()
            body += message["body"]
            more = message["more_body"]
    seen.append([scope["http_version"], scope["client"][1], path])
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]})
    await send({"type": "http.response.body", "body": body})
'''


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pages.py").write_text(APP)
    write_certificate(tmp_path, "localhost", "127.0.0.1")
    authority().cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return tmp_path


@pytest.fixture
def server(http2_engine: str, folder: Path) -> Iterator[ServerProcess]:
    options = ["--certfile", f"{folder}/server.pem", "--keyfile", f"{folder}/server.key"]
    engine = ("--http2-engine", http2_engine)
    with serving("pages:app", *options, *engine, app_dir=folder) as process:
        yield process
        assert process.stop() == 0
        assert "Traceback" not in process.stderr.text


def run(*command: str, timeout: float = 60) -> str:
    """What a program says; it must succeed."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    assert done.returncode == 0, f"{command}: {done.stderr[-4000:]}\n{done.stdout[-4000:]}"
    return done.stdout


def test_curl_chooses_http2_and_moves_bodies_both_ways(server: ServerProcess, folder: Path) -> None:
    url = f"https://localhost:{server.port}"
    curl = [find_tool("curl"), "-sS", "--noproxy", "*", "--cacert", f"{folder}/ca.pem"]
    told = run(*curl, "-w", " %{http_version}", f"{url}/hello", f"{url}/again")
    assert told == "Hello from Trio! 2Hello from Trio! 2"
    assert run(*curl, "--http1.1", "-w", " %{http_version}", f"{url}/hello").endswith(" 1.1")
    body = folder / "body"
    body.write_bytes(bytes(range(256)) * 8192)
    back = folder / "back"
    run(*curl, "--data-binary", f"@{body}", "-o", str(back), f"{url}/echo")
    assert back.read_bytes() == body.read_bytes()


def test_nghttp_gets_a_page_and_says_so(server: ServerProcess) -> None:
    said = run(find_tool("nghttp"), "-nv", f"https://127.0.0.1:{server.port}/hello")
    assert re.search(r"recv .*:status: 200", said)
    assert "END_STREAM" in said


def test_h2load_has_every_request_answered(server: ServerProcess) -> None:
    words = ["-n", "2000", "-c", "8", "-m", "16", f"https://127.0.0.1:{server.port}/hello"]
    said = run(find_tool("h2load"), *words)
    assert "2000 succeeded, 0 failed, 0 errored, 0 timeout" in said
    assert "Application protocol: h2" in said


def test_a_browser_gets_a_page_with_a_hundred_images_over_one_connection(
    server: ServerProcess, folder: Path
) -> None:
    url = f"https://localhost:{server.port}"
    browser = [
        find_tool("chromium"),
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--ignore-certificate-errors",
        f"--user-data-dir={folder / 'profile'}",
        "--virtual-time-budget=20000",
        "--dump-dom",
    ]
    assert "loaded 100, broken 0" in run(*browser, f"{url}/", timeout=120)
    curl = [find_tool("curl"), "-sS", "--noproxy", "*", "--cacert", f"{folder}/ca.pem"]
    seen = json.loads(run(*curl, f"{url}/seen"))
    page = [entry for entry in seen if entry[2] == "/" or entry[2].startswith("/image/")]
    assert len(page) == 101
    assert {version for version, _, _ in page} == {"2"}
    assert len({port for _, port, _ in page}) == 1


def test_a_client_that_offers_only_http1_gets_it_and_protocols_can_be_chosen(
    folder: Path,
) -> None:
    options = ["--certfile", f"{folder}/server.pem", "--keyfile", f"{folder}/server.key"]
    curl = [find_tool("curl"), "-sS", "--noproxy", "*", "--cacert", f"{folder}/ca.pem"]
    with serving("pages:app", *options, "--http-protocols", "h1", app_dir=folder) as only_http1:
        url = f"https://localhost:{only_http1.port}/hello"
        assert run(*curl, "-w", " %{http_version}", url) == "Hello from Trio! 1.1"
    with serving("pages:app", *options, "--http-protocols", "h2", app_dir=folder) as only_http2:
        url = f"https://localhost:{only_http2.port}/hello"
        assert run(*curl, "-w", " %{http_version}", url) == "Hello from Trio! 2"
        with running(*curl, "--http1.1", url) as refused:
            assert refused.wait() != 0
