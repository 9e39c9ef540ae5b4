# SPDX-License-Identifier: MIT
"""``trioserve --reload`` as a developer knows it; and what no client ever sees without it."""

from __future__ import annotations

import contextlib
import re
import signal
import threading
from typing import TYPE_CHECKING

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect as connect_websocket

from tests.browser import browsing
from tests.plain_client import connect, get, request
from tests.server_process import PATIENCE, TRIOSERVE, running
from tests.worker_processes import Site, children_of, is_alive, needs_proc, wait_until

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tests.server_process import ServerProcess

#: Each starts several Pythons, which takes about a second.
pytestmark = [pytest.mark.slow, needs_proc]

HTML = [("accept", "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8")]

BROKEN = """
    class CartError(Exception):
        pass

    def connect():
        raise ConnectionError("no <database> here")

    try:
        connect()
    except ConnectionError as exc:
        error = CartError("the cart can't be opened")
        error.add_note("is it running?")
        raise error from exc
"""

FAILING_STARTUP = """
    async def app(scope, receive, send):
        await receive()
        raise ExceptionGroup("startup", [ValueError("first"), KeyError("second")])
"""


def developing(site: Site, *options: str) -> AbstractContextManager[ServerProcess]:
    return site.serving("--reload", "--lifespan=on", *options, workers=0)


def ask_until(server: ServerProcess, text: str) -> None:
    """Each request on the way there is answered, one way or the other."""
    wait_until(lambda: text in get(server.port, "/").text, f"the answer has {text!r}")


def test_a_saved_file_is_served_and_the_old_process_is_gone(tmp_path: Path) -> None:
    site = Site(tmp_path)
    with developing(site) as server:
        assert get(server.port, "/").text == "one"
        (old,) = children_of(server.process.pid)
        for text in ("two", "three", "four"):
            site.version(text)
            ask_until(server, text)
        wait_until(lambda: len(children_of(server.process.pid)) == 1, "one worker is left")
        assert not is_alive(old)
        server.stderr.wait_for(r"reload: .*site_app\.py changed")
        assert server.stop(signal.SIGINT) == 0


def test_an_app_that_can_not_be_imported_is_a_page_that_tells_all_and_heals(
    tmp_path: Path,
) -> None:
    site = Site(tmp_path)
    site.write(BROKEN)
    with developing(site) as server:
        reply = get(server.port, "/any/path")
        assert (reply.status, reply.headers["cache-control"]) == (500, "no-store")
        assert reply.headers["content-type"].startswith("text/plain")
        for part in (
            "ConnectionError: no <database> here",
            'raise ConnectionError("no <database> here")',
            "The above exception was the direct cause",
            "CartError: the cart can't be opened",
            "is it running?",
            "site_app.py",
        ):
            assert part in reply.text
        page = request(server.port, "GET", "/", headers=HTML)
        assert (page.status, page.headers["content-type"].partition(";")[0]) == (500, "text/html")
        assert "CartError" in page.text
        assert "no &lt;database&gt; here" in page.text
        assert "no <database> here" not in page.text
        site.write("x = (")
        ask_until(server, "SyntaxError: '(' was never closed")
        site.version("mended")
        ask_until(server, "mended")
        assert server.stop() == 0


def test_a_startup_that_fails_is_a_page_too(tmp_path: Path) -> None:
    site = Site(tmp_path)
    with developing(site) as server:
        assert get(server.port, "/").text == "one"
        site.write(FAILING_STARTUP)
        ask_until(server, "ExceptionGroup: startup (2 sub-exceptions)")
        text = get(server.port, "/").text
        assert "ValueError: first" in text
        assert "KeyError: 'second'" in text
        site.version("two")
        ask_until(server, "two")
        assert server.stop() == 0


def test_no_request_is_refused_or_lost_while_files_are_saved(tmp_path: Path) -> None:
    site = Site(tmp_path)
    with developing(site) as server:
        port = server.port
        stop = threading.Event()
        seen: list[str] = []

        def ask() -> None:
            while not stop.is_set():
                seen.append(get(port, "/").text)  # on a connection of its own

        asking = threading.Thread(target=ask)
        asking.start()
        try:
            for number in range(3):
                site.version(f"version {number}")
                wait_until(lambda: seen[-1:] == [f"version {number}"], "it is served")  # noqa: B023
        finally:
            stop.set()
            asking.join()
        assert set(seen) == {"one", *(f"version {number}" for number in range(3))}
        assert server.stop() == 0


def test_a_request_that_takes_long_holds_up_no_reload(tmp_path: Path) -> None:
    site = Site(tmp_path)
    with developing(site) as server, connect(server.port) as client:
        client.send("GET", "/slow?2")
        server.stdout.wait_for("slow begins")
        site.version("two")
        ask_until(server, "two")
        assert client.reply().text == "one"
        assert server.stop() == 0


ECHO = """
    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            for _ in range(2):
                await send({"type": (await receive())["type"] + ".complete"})
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            while (message := await receive())["type"] == "websocket.receive":
                await send({"type": "websocket.send", "text": message["text"]})
        else:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"an echo"})
"""


def test_an_open_websocket_holds_up_no_reload(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.write(ECHO)
    with developing(site) as server:
        with connect_websocket(f"ws://127.0.0.1:{server.port}/", proxy=None) as ws:
            ws.send("hello")
            assert ws.recv(PATIENCE) == "hello"
            site.version("two")
            ask_until(server, "two")
            with pytest.raises(ConnectionClosed):  # so that the client comes again
                ws.recv(PATIENCE)
            assert ws.close_code == 1012
        wait_until(lambda: len(children_of(server.process.pid)) == 1, "the old worker has ended")
        assert server.stop() == 0


def test_a_websocket_is_told_why_there_is_none(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.write(BROKEN)
    with developing(site) as server:
        with pytest.raises(InvalidStatus) as info:
            connect_websocket(f"ws://127.0.0.1:{server.port}/", proxy=None)
        assert info.value.response.status_code == 500
        assert b"CartError: the cart can't be opened" in (info.value.response.body or b"")
        assert server.stop() == 0


def test_only_files_that_matter_count(tmp_path: Path) -> None:
    site = Site(tmp_path)
    watched = tmp_path / "templates"
    watched.mkdir()
    with developing(site, "--reload-include=*.html", "--reload-exclude=old") as server:
        assert get(server.port, "/").text == "one"
        (tmp_path / "notes.txt").write_text("nothing to see")
        (watched / "old").mkdir()
        (watched / "old" / "a.py").write_text("x = 1")
        (watched / "page.html").write_text("<p>new</p>")
        server.stderr.wait_for(r"reload: .*page\.html changed")
        assert "notes.txt" not in server.stderr.text
        assert "a.py" not in server.stderr.text
        assert server.stop() == 0


def test_a_page_in_a_browser_heals_by_itself(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.write(BROKEN)
    with developing(site) as server, browsing(tmp_path / "browser") as browser:
        url = f"http://127.0.0.1:{server.port}/"
        page = browser.open(url, ready="document.body.innerText.includes('CartError')")
        assert page.value("document.documentElement.scrollWidth <= window.innerWidth")

        def is_mended() -> bool:
            with contextlib.suppress(AssertionError, KeyError):  # it is just being loaded again
                return "mended" in page.value("document.body.innerText")
            return False

        site.version("<h1>mended</h1>")
        wait_until(is_mended, "the page shows the application")
        assert server.stop() == 0


# -- without --reload -----------------------------------------------------------------------

SECRET = "the password is swordfish"
FAILING_REQUESTS = f"""
    import trio
    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            for _ in range(2):
                kind = (await receive())["type"]
                await send({{"type": kind + ".complete"}})
            return
        if scope["path"] == "/late":
            await send({{"type": "http.response.start", "status": 200, "headers": []}})
            await send({{"type": "http.response.body", "body": b"begun", "more_body": True}})
        if scope["path"] == "/background":
            async def work():
                raise RuntimeError("{SECRET}")
            scope["extensions"]["trioserve"]["nursery"].start_soon(work)
            await send({{"type": "http.response.start", "status": 200, "headers": []}})
            await send({{"type": "http.response.body", "body": b"begun"}})
            return
        if scope["type"] == "websocket" and scope["path"] == "/accepted":
            await receive()
            await send({{"type": "websocket.accept"}})
        if scope["path"] == "/group":
            raise ExceptionGroup("{SECRET}", [ValueError("{SECRET}")])
        raise RuntimeError("{SECRET}")
"""


@pytest.mark.parametrize("workers", [0, 1])
def test_nothing_of_an_exception_reaches_a_client_without_reload(
    tmp_path: Path, workers: int
) -> None:
    site = Site(tmp_path)
    site.write(FAILING_REQUESTS)
    with site.serving(workers=workers) as server:
        for path in ("/", "/group"):
            for headers in ([], HTML):
                reply = request(server.port, "GET", path, headers=headers)
                assert reply.status == 500
                shown = f"{reply.headers} {reply.text}"
                assert not re.search("swordfish|RuntimeError|Group|Traceback|site_app", shown), (
                    shown
                )
        with connect(server.port) as client:
            client.send("GET", "/late")
            client.begin()
            data = b""
            while part := client.sock.recv(65536):
                data += part
            assert b"swordfish" not in data
        assert get(server.port, "/background").text == "begun"
        url = f"ws://127.0.0.1:{server.port}"
        with pytest.raises(InvalidStatus) as refusal:
            connect_websocket(f"{url}/", proxy=None)
        response = refusal.value.response
        assert response.status_code == 500
        assert b"swordfish" not in response.serialize() + (response.body or b"")
        with connect_websocket(f"{url}/accepted", proxy=None) as ws:
            with pytest.raises(ConnectionClosed):
                ws.recv(PATIENCE)
            assert (ws.close_code, ws.close_reason) == (1011, "")
        server.stderr.wait_for(SECRET, 6)  # it is the operator's
        assert server.stop() == 0


def test_a_lifespan_that_fails_shows_nothing_without_reload(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.write(FAILING_REQUESTS.replace('scope["type"] == "lifespan"', "False"))
    with site.serving("--lifespan=auto", workers=1) as server:
        reply = get(server.port, "/")
        assert reply.status == 500
        assert "swordfish" not in f"{reply.headers} {reply.text}"
        assert server.stop() == 0


def test_a_worker_whose_new_code_is_broken_shows_nothing_without_reload(tmp_path: Path) -> None:
    site = Site(tmp_path)
    with site.serving(workers=1) as server:
        assert get(server.port, "/").text == "one"
        site.write(f"raise RuntimeError('{SECRET}')")
        server.send_signal(signal.SIGHUP)
        server.stderr.wait_for(SECRET)
        assert get(server.port, "/").text == "one"
        assert server.stop() == 0


def test_a_directory_that_is_not_there_can_not_be_watched(tmp_path: Path) -> None:
    nowhere = f"--reload-dir={tmp_path / 'none'}"
    with running(TRIOSERVE, "tests.workers_app:app", "--reload", nowhere) as server:
        assert server.wait() == 2
        assert "there is no such directory" in server.stderr.lines[-1]
