# SPDX-License-Identifier: MIT
"""``trioserve --certfile``: the real command, with curl as its client."""

from __future__ import annotations

import json
import subprocess
from typing import IO, TYPE_CHECKING

import pytest

from .server_process import TRIOSERVE, running, serving
from .tls.authority import PASSWORD, authority, encrypted, issue, write_certificate
from .tools import find_tool

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow  # each test starts a process

APP = """
import hashlib
import json

BIG = 20 * 1024 * 1024

def make_context(config, factory):
    context = factory()
    context.minimum_version = context.maximum_version
    return context

def fail(config, factory):
    raise LookupError("no such vault")

async def app(scope, receive, send):
    if scope["type"] != "http":
        raise RuntimeError("only HTTP")
    body = b""
    digest = hashlib.sha256()
    more = True
    while more:
        message = await receive()
        digest.update(message["body"])
        more = message["more_body"]
    if scope["path"] == "/big":
        await send({"type": "http.response.start", "status": 200})
        for _ in range(BIG // 65536):
            await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        return
    tls = scope["extensions"].get("tls")
    told = {
        "scheme": scope["scheme"],
        "client": tls and tls["client_cert_name"],
        "version": tls and tls["tls_version"],
        "digest": digest.hexdigest(),
    }
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": json.dumps(told).encode()})
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An application, a certificate with its key, and the authority's certificate."""
    (tmp_path / "tls_app.py").write_text(APP)
    write_certificate(tmp_path, "localhost", "127.0.0.1")
    authority().cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return tmp_path


def options(folder: Path, *more: str) -> list[str]:
    return ["--certfile", f"{folder}/server.pem", "--keyfile", f"{folder}/server.key", *more]


def curl(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [find_tool("curl"), "-sS", "--noproxy", "*", "--cacert", f"{folder}/ca.pem", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def test_curl_gets_its_answer(folder: Path) -> None:
    with serving("tls_app:app", *options(folder), app_dir=folder) as server:
        assert server.address.startswith("https://127.0.0.1:")
        url = f"https://127.0.0.1:{server.port}/"
        first = curl(folder, url, url)
        assert first.returncode == 0, first.stderr
        assert first.stdout.count('"scheme": "https"') == 2
        assert curl(folder, "--tls-max", "1.2", url).returncode == 0
        old = curl(folder, "--tls-max", "1.1", url)
        assert old.returncode == 35
        plain = curl(folder, f"http://127.0.0.1:{server.port}/")
        assert plain.returncode == 0
        assert "this port speaks HTTPS" in plain.stdout
        assert server.stop() == 0
        assert "Traceback" not in server.stderr.text


def test_curl_sends_and_gets_large_bodies(folder: Path) -> None:
    upload = folder / "upload"
    upload.write_bytes(b"0123456789abcdef" * (1 << 20))
    with serving("tls_app:app", *options(folder), app_dir=folder) as server:
        url = f"https://127.0.0.1:{server.port}/"
        sent = curl(folder, "-T", str(upload), url)
        assert sent.returncode == 0, sent.stderr
        digest = subprocess.run(["sha256sum", upload], capture_output=True, text=True, check=True)
        assert json.loads(sent.stdout)["digest"] == digest.stdout.split()[0]
        for version in ("--http1.1", "--http1.0"):
            words = ["-o", "/dev/null", "-w", "%{size_download}", version, f"{url}big"]
            got = curl(folder, *words)
            assert (got.returncode, got.stdout) == (0, str(20 << 20)), got.stderr


def test_names_client_certificates_and_a_cleartext_address(folder: Path) -> None:
    write_certificate(folder, "shop.example", stem="shop")
    encrypted(folder / "shop.key")
    issue("ann@example.org", common_name="Ann").private_key_and_cert_chain_pem.write_to_path(
        str(folder / "ann.pem")
    )
    more = [
        *("--sni-certificate", f"*.example={folder}/shop.pem,{folder}/shop.key"),
        *("--ca-certs", f"{folder}/ca.pem", "--cert-reqs", "required"),
        *("--insecure-bind", f"unix:{folder}/plain.sock", "--tls-min-version", "1.3"),
    ]
    with serving(
        "tls_app:app",
        *options(folder, *more),
        app_dir=folder,
        environ={"TRIOSERVE_KEYFILE_PASSWORD": PASSWORD},
    ) as server:
        port = server.port
        to = ["--resolve", f"shop.example:{port}:127.0.0.1", f"https://shop.example:{port}/"]
        told = json.loads(curl(folder, "--cert", f"{folder}/ann.pem", *to).stdout)
        assert told["client"].startswith("CN=Ann")
        assert told["version"] == 0x0304
        assert curl(folder, *to).returncode != 0
        plain = curl(folder, "--unix-socket", f"{folder}/plain.sock", "http://h/")
        assert json.loads(plain.stdout)["scheme"] == "http"
        assert PASSWORD not in server.stderr.text + server.stdout.text


def test_a_hook_is_imported_like_the_application(folder: Path) -> None:
    more = options(folder, "--ssl-context", "tls_app:make_context")
    with serving("tls_app:app", *more, app_dir=folder) as server:
        url = f"https://127.0.0.1:{server.port}/"
        assert json.loads(curl(folder, url).stdout)["version"] == 0x0304
        assert curl(folder, "--tls-max", "1.2", url).returncode == 35


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--certfile", "{}/gone.pem"], "certfile '{}/gone.pem': the file can't be read: No such"),
        (["--keyfile", "{}/server.key"], "keyfile '{}/server.key': there is no certfile, so"),
        (["--certfile", "{}/server.pem"], "certfile '{}/server.pem': there is no PEM private key"),
        (
            ["--certfile", "{}/server.pem", "--keyfile", "{}/ca.pem"],
            "keyfile '{}/ca.pem': there is no PEM private key in it",
        ),
        (["--insecure-bind", ":80"], "insecure_bind (':80',): there is no certfile"),
        (["--ssl-context", "tls_app:fail"], "ssl_context: the hook failed: LookupError: "),
        (["--ssl-context", "tls_app:nothing"], "ssl_context: "),
    ],
)
@pytest.mark.parametrize("check", [[], ["--check-config"]])
def test_what_can_not_work_ends_the_command_with_a_line(
    words: list[str], message: str, check: list[str], folder: Path
) -> None:
    given = [word.replace("{}", str(folder)) for word in words]
    command = [TRIOSERVE, "tls_app:app", "--app-dir", str(folder), "--bind", "127.0.0.1:0"]
    with running(*command, *given, *check) as server:
        assert server.wait() == 2
    last = server.stderr.lines[-1]
    assert last.startswith("trioserve: " + message.replace("{}", str(folder)))
    traceback = [line for line in server.stderr.lines if line.startswith("Traceback")]
    assert len(traceback) == ("tls_app:fail" in words)
    assert ("no such vault" in server.stderr.text) == bool(traceback)


def test_a_client_may_change_its_keys_before_it_has_seen_a_byte(folder: Path) -> None:
    """RFC 8446 section 4.6.3: our own answer to that comes after the session tickets."""
    command = [find_tool("openssl"), "s_client", "-tls1_3", "-CAfile", f"{folder}/ca.pem"]
    with serving("tls_app:app", *options(folder), app_dir=folder) as server:
        client = subprocess.Popen(
            [*command, "-connect", f"127.0.0.1:{server.port}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        try:
            assert client.stdin is not None
            assert client.stdout is not None
            until(client.stdout, b"Verify return code")
            for _ in range(3):
                client.stdin.write(b"K\n")
                client.stdin.flush()
                until(client.stdout, b"KEYUPDATE")
            client.stdin.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            client.stdin.flush()
            until(client.stdout, b"HTTP/1.1 200 OK")
        finally:
            client.kill()
            client.communicate()


def until(output: IO[bytes], marker: bytes) -> None:
    """Reads lines until one has the marker."""
    seen = []
    for line in output:
        seen.append(line)
        if marker in line:
            return
    raise AssertionError(f"no {marker!r} in {b''.join(seen)!r}")
