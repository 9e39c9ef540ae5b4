# SPDX-License-Identifier: MIT
"""The chat runs by one command; clients and browsers talk in it, over one server and over two."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.browser import browsing
from tests.plain_client import get
from tests.server_process import PATIENCE, REPOSITORY, TRIOSERVE, running, serving
from trioserve.command_line import parse
from trioserve.config.sources import resolve
from trioserve.dirty import BlockingDirtyClient

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from websockets.sync.client import ClientConnection

    from tests.browser import Browser, Page
    from tests.server_process import ServerProcess

EXAMPLE = REPOSITORY / "examples" / "chat"

#: All of these start a server and its worker, each a process of its own.
pytestmark = pytest.mark.slow


def serving_chat(
    *options: str, bind: str = "127.0.0.1:0", beside: Path | None = None
) -> AbstractContextManager[ServerProcess]:
    """Serves the example with its own settings.

    Args:
        beside: the socket of another server, whose stash this one is to use.
    """
    environ = None
    if beside is not None:
        options += ("--dirty-workers", "0")
        environ = {"TRIOSERVE_DIRTY_SOCKET": str(beside)}
    config = ("--config", str(EXAMPLE / "trioserve.toml"))
    return serving("app:app", *config, *options, app_dir=EXAMPLE, bind=bind, environ=environ)


class Member:
    """A client in a room.

    Attributes:
        welcome: the events that it was welcomed with.
    """

    def __init__(self, ws: ClientConnection) -> None:
        self.ws = ws
        welcome = self.next()
        assert welcome["type"] == "welcome", welcome
        self.welcome: list[dict[str, Any]] = welcome["events"]

    @property
    def history(self) -> list[str]:
        """The texts that it was welcomed with."""
        return [event["text"] for event in self.welcome if event["type"] == "message"]

    @property
    def present(self) -> list[str]:
        """The names that it was welcomed with, its own among them."""
        return [event["name"] for event in self.welcome if event["type"] == "joined"]

    def say(self, text: str | bytes) -> None:
        self.ws.send(text)

    def next(self) -> dict[str, Any]:
        """The next event."""
        event: dict[str, Any] = json.loads(self.ws.recv(PATIENCE))
        return event

    def hear(self, kind: str = "message") -> str:
        """The text or the name of the next event, which is of this kind."""
        event = self.next()
        assert event["type"] == kind, event
        return str(event.get("text") or event.get("name"))

    def closing(self) -> tuple[int, str]:
        """Code and reason of the Close frame that comes next, after whatever else."""
        return closing(self.ws)


def closing(ws: ClientConnection) -> tuple[int, str]:
    """Code and reason of the Close frame that comes next, after whatever else."""
    with contextlib.suppress(ConnectionClosed):
        while True:
            ws.recv(PATIENCE)
    assert ws.close_code is not None
    return ws.close_code, ws.close_reason or ""


@contextlib.contextmanager
def opened(port: int, room: str, name: str, **options: Any) -> Iterator[ClientConnection]:
    url = f"ws://127.0.0.1:{port}/ws?{urlencode({'room': room, 'name': name})}"
    with connect(url, proxy=None, close_timeout=PATIENCE, **options) as ws:
        yield ws


@contextlib.contextmanager
def entered(port: int, name: str, room: str = "lobby", **options: Any) -> Iterator[Member]:
    with opened(port, room, name, **options) as ws:
        yield Member(ws)


def kernel_buffer_size() -> int:
    """Bytes that the kernel may take for a client who reads nothing."""
    try:
        return int(Path("/proc/sys/net/ipv4/tcp_wmem").read_text("ascii").split()[2])
    except OSError:  # not Linux
        return 4 << 20


def stop(server: ServerProcess) -> None:
    """The server ends well, and nothing went wrong in it."""
    assert server.stop() == 0
    assert "Traceback" not in server.stderr.text
    assert "ERROR" not in server.stderr.text


# -- one server -----------------------------------------------------------------------------


def test_chat_is_run_by_one_command() -> None:
    with running(TRIOSERVE, "--check-config", cwd=EXAMPLE) as command:
        assert command.wait() == 0
        command.stdout.wait_for("^ok$")
    make = shutil.which("make")
    if make is None:
        pytest.skip("there is no make")
    words = [make, "--dry-run", "run", "EXAMPLE=chat"]
    done = subprocess.run(
        words, cwd=REPOSITORY, capture_output=True, text=True, timeout=20, check=True
    )
    folder = "examples/chat"
    assert f"app:app --app-dir {folder} --config {folder}/trioserve.toml" in done.stdout


def test_chat_commands_of_the_readme_parse() -> None:
    readme = (EXAMPLE / "README.md").read_text("utf-8")
    commands = re.findall(r"^trioserve (.*)$", readme, re.MULTILINE)
    assert len(commands) == 3
    for command in commands:
        asked = parse(shlex.split(command))
        assert asked is not None
        resolve({}, {}, asked.settings)


def test_chat_serves_a_page_without_external_resources() -> None:
    with serving_chat() as server:
        page = get(server.port)
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert "new WebSocket(" in page.text
        assert not re.search(r"https?://|innerHTML|insertAdjacentHTML|document\.write", page.text)
        assert get(server.port, "/ws").status == 404  # no WebSocket, this
        stop(server)


def test_chat_members_of_a_room_talk_and_a_newcomer_reads_the_history() -> None:
    with serving_chat() as server:
        with entered(server.port, "Ada") as ada, entered(server.port, "Bob") as bob:
            assert (ada.history, ada.present) == ([], ["Ada"])
            assert bob.present == ["Ada", "Bob"]
            assert ada.hear("joined") == "Bob"
            with entered(server.port, "Eve", "kitchen") as eve:
                ada.say("  Hello, Bob! <b>ünï</b>  ")
                assert [ada.hear(), bob.hear()] == ["Hello, Bob! <b>ünï</b>"] * 2
                bob.say("Hello, Ada!")
                assert [ada.hear(), bob.hear()] == ["Hello, Ada!"] * 2
                eve.say("Is anybody here?")
                assert eve.hear() == "Is anybody here?"  # and nothing of the lobby before it
        with entered(server.port, "Cyd") as cyd:
            assert cyd.history == ["Hello, Bob! <b>ünï</b>", "Hello, Ada!"]
            assert [event.get("name") for event in cyd.welcome] == ["Ada", "Bob", "Cyd"]
            assert cyd.welcome[0].keys() == {"type", "id", "name", "text", "at"}
        stop(server)


def test_chat_keeps_the_last_50_messages_of_writers_at_a_time_in_one_order() -> None:
    with serving_chat() as server, contextlib.ExitStack() as stack:
        ada, bob, cyd = (
            stack.enter_context(entered(server.port, name, max_queue=None))
            for name in ("Ada", "Bob", "Cyd")
        )
        assert [ada.hear("joined"), ada.hear("joined"), bob.hear("joined")] == ["Bob", "Cyd", "Cyd"]
        for number in range(30):  # nobody waits for an answer, so all three write at a time
            for writer, member in (("a", ada), ("b", bob), ("c", cyd)):
                member.say(f"{writer}{number}")
        heard = [ada.next() for _ in range(90)]
        texts = [event["text"] for event in heard]
        assert sorted(texts) == sorted(f"{writer}{n}" for writer in "abc" for n in range(30))
        for writer in "abc":
            own = [text for text in texts if text[0] == writer]
            assert own == [f"{writer}{number}" for number in range(30)]
        assert [bob.next() for _ in range(90)] == heard
        assert [cyd.next() for _ in range(90)] == heard
        for member in (ada, bob, cyd):
            # What comes after it tells that the message it had pushed out is gone.
            member.say("")
            assert member.hear("error")
        with entered(server.port, "Dan") as dan:
            # The highest numbers, in the order in which all have heard them.
            history = [event for event in dan.welcome if event["type"] == "message"]
            assert history == [event for event in heard if int(event["id"]) > 40]
            assert dan.present == ["Ada", "Bob", "Cyd", "Dan"]
        stop(server)


def test_chat_shows_who_comes_and_who_leaves(tmp_path: Path) -> None:
    path = tmp_path / "dirty.sock"
    with serving_chat("--dirty-socket", str(path)) as server:
        with entered(server.port, "Ada") as ada:
            with entered(server.port, "Bob"), entered(server.port, "Bob") as second:
                assert [ada.hear("joined"), ada.hear("joined")] == ["Bob", "Bob"]
                second.ws.socket.shutdown(socket.SHUT_RDWR)  # it leaves without a Close frame
                left = [ada.next()]
            left.append(ada.next())
            assert [event["type"] for event in left] == ["left", "left"]
            assert left[0]["id"] != left[1]["id"]
            # One whose server was killed is gone when the key has expired.
            with BlockingDirtyClient(str(path)) as pool:
                pool.stash.put("chat", "lobby/member/77", {"name": "Cyd"}, ttl=0.1)
                assert ada.hear("joined") == "Cyd"
                assert ada.next() == {"type": "left", "id": "77"}
        with entered(server.port, "Dan") as dan:
            assert dan.present == ["Dan"]
        stop(server)


def test_chat_is_not_held_up_by_a_slow_member_who_is_sent_away_with_a_reason() -> None:
    with serving_chat() as server:
        # Nothing of what comes is read: its buffer is small, and its thread stops at one frame.
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(("127.0.0.1", server.port))
        options: dict[str, Any] = {
            "sock": sock,
            "compression": None,
            "max_queue": 1,
            "ping_interval": None,
        }
        with (
            entered(server.port, "Slow", **options) as slow,
            entered(server.port, "Ada", compression=None) as ada,
            entered(server.port, "Bob", compression=None) as bob,
        ):
            assert ada.hear("joined") == "Bob"
            text = "😀" * 990
            # What the kernel takes for the slow one is full at some point, then the outbox is; all
            # the time the others have each message at once.
            for number in range(kernel_buffer_size() // len(text.encode()) + 300):
                ada.say(f"{number} {text}")
                assert ada.hear() == f"{number} {text}"
                assert bob.hear() == f"{number} {text}"
            # It has all of the first messages, and none after a gap.
            assert [slow.hear("joined"), slow.hear("joined")] == ["Ada", "Bob"]
            assert [slow.hear().partition(" ")[0] for _ in range(100)] == list(map(str, range(100)))
            assert slow.closing() == (1013, "some messages were missed: come back for the history")
            assert [ada.next()["type"], bob.next()["type"]] == ["left", "left"]
        stop(server)


def test_chat_takes_no_member_for_slow_since_many_messages_come_at_once(tmp_path: Path) -> None:
    path = tmp_path / "dirty.sock"
    with serving_chat("--dirty-socket", str(path)) as server:
        with entered(server.port, "Ada") as ada, BlockingDirtyClient(str(path)) as pool:
            texts = [f"text {number}" for number in range(900)]
            burst = {
                f"lobby/message/{number}": {"name": "Bob", "text": text, "at": 0.0}
                for number, text in enumerate(texts)
            }
            pool.stash.update("chat", burst)  # one operation
            assert [ada.hear() for _ in texts] == texts
        stop(server)


def test_chat_closes_with_a_reason_where_room_or_name_are_wrong() -> None:
    rooms = ["", "Lobby", "a/b", "*", "x" * 25]
    names = ["", "   ", "x" * 25, "A\nda", "\u202eadA"]
    with serving_chat() as server:
        for room, name in [
            *((room, "Ada") for room in rooms),
            *(("lobby", name) for name in names),
        ]:
            with opened(server.port, room, name) as ws:
                code, reason = closing(ws)
            assert code == 1008, (room, name)
            assert reason == "room: 1 to 24 of a-z, 0-9, -; name: 1 to 24 printable characters"
        stop(server)


def test_chat_answers_a_wrong_message_with_an_error_to_its_sender_only() -> None:
    with serving_chat() as server:
        with entered(server.port, "Ada") as ada, entered(server.port, "Bob") as bob:
            assert ada.hear("joined") == "Bob"
            for wrong in ("", " \n ", "x" * 1001, b"bytes"):
                ada.say(wrong)
                assert ada.hear("error") == "a text has 1 to 1000 characters"
            ada.say("x" * 1000)
            assert [ada.hear(), bob.hear()] == ["x" * 1000] * 2
            ada.say("x" * 8193)
            assert ada.closing()[0] == 1009
            assert bob.next()["type"] == "left"
        stop(server)


def test_chat_members_come_again_when_the_table_was_emptied(tmp_path: Path) -> None:
    path = tmp_path / "dirty.sock"
    with serving_chat("--dirty-socket", str(path)) as server:
        with entered(server.port, "Ada") as ada, BlockingDirtyClient(str(path)) as pool:
            pool.stash.clear("chat")
            assert ada.closing()[0] == 1013
        with entered(server.port, "Ada") as ada:
            ada.say("again")
            assert ada.hear() == "again"
        stop(server)


# -- two servers, one stash -----------------------------------------------------------------


def test_chat_rooms_are_shared_by_two_servers_and_survive_one(tmp_path: Path) -> None:
    path = tmp_path / "dirty.sock"
    with serving_chat("--dirty-socket", str(path)) as first, entered(first.port, "Ada") as ada:
        with serving_chat(beside=path) as second, entered(second.port, "Bob") as bob:
            assert ada.hear("joined") == "Bob"
            assert bob.present == ["Ada", "Bob"]
            bob.say("from the second")
            assert [ada.hear(), bob.hear()] == ["from the second"] * 2
            ada.say("from the first")
            assert [ada.hear(), bob.hear()] == ["from the first"] * 2
            second.send_signal(signal.SIGKILL)
            second.wait()
        with serving_chat(beside=path) as third:
            with entered(third.port, "Cyd") as cyd:
                assert cyd.history == ["from the second", "from the first"]
                assert ada.hear("joined") == "Cyd"
            stop(third)
        assert ada.next()["type"] == "left"
        with (
            BlockingDirtyClient(str(path)) as pool,
            pool.stream("transcript:Transcript", "lines", "lobby") as stream,
        ):
            lines = list(stream)
        assert [re.sub(r"^\d\d:\d\d ", "", line) for line in lines] == [
            "Bob: from the second",
            "Ada: from the first",
        ]
        first.send_signal(signal.SIGTERM)
        assert ada.closing()[0] == 1012
        assert first.wait() == 0
        assert "Traceback" not in first.stderr.text


def test_chat_bears_the_loss_of_the_stash_and_uses_the_next_one(tmp_path: Path) -> None:
    path = tmp_path / "dirty.sock"
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(serving_chat("--dirty-socket", str(path)))
        second = stack.enter_context(serving_chat(beside=path))
        ada = stack.enter_context(entered(second.port, "Ada"))
        stop(first)
        second.stderr.wait_for("the stash can't be watched")
        ada.say("Does anybody hear this?")
        assert ada.hear("error") == "that could not be delivered"
        with opened(second.port, "lobby", "Bob") as bob:
            assert closing(bob) == (1013, "the history can't be reached")
        third = stack.enter_context(serving_chat("--dirty-socket", str(path)))
        assert ada.closing()[0] == 1013  # once it is followed, everybody is to come again
        with entered(second.port, "Ada") as again, entered(third.port, "Cyd") as cyd:
            assert again.hear("joined") == "Cyd"
            cyd.say("yes")
            assert again.hear() == "yes"
        stop(second)
        stop(third)


# -- in a browser ---------------------------------------------------------------------------


def open_chat(browser: Browser, url: str) -> Page:
    return browser.open(url, "document.getElementById('enter') !== null")


def enter(page: Page, name: str) -> None:
    """Enters the lobby, by keyboard: the name has the focus, once the page is painted, which
    is when it is looked at."""
    page.call("Page.bringToFront")
    page.wait_for("document.activeElement.id === 'name'")
    page.type(name)
    page.press_enter()
    page.wait_for_text("state", "connected")
    page.wait_for("document.activeElement.id === 'text'")


def test_chat_pages_talk_to_each_other_in_a_browser(tmp_path: Path) -> None:
    with serving_chat() as server, browsing(tmp_path) as browser:
        url = f"http://127.0.0.1:{server.port}/"
        ada, bob = open_chat(browser, url), open_chat(browser, url)
        enter(ada, "Ada")
        enter(bob, "Bob")
        ada.wait_for_text("members", "AdaBob")
        ada.type("Hello, <b>Bob</b> & <script>alert(1)</script>!")
        ada.press_enter()
        bob.wait_for_text("log", "Hello")
        assert bob.text(".message p") == ["Hello, <b>Bob</b> & <script>alert(1)</script>!"]
        assert bob.text("#log script, #log p b") == []
        assert bob.text(".own") == []
        bob.type("Hello, Ada!")
        bob.press_enter()
        ada.wait_for_text("log", "Hello, Ada!")
        assert ada.text(".note") == ["Bob has come"]
        assert len(ada.text(".own p")) == 1
        with entered(server.port, "<i>Cyd</i>") as cyd:
            assert cyd.history == [*ada.text(".own p"), "Hello, Ada!"]
            ada.wait_for_text("members", "AdaBob<i>Cyd</i>")
            cyd.say("from a program")
            bob.wait_for_text("log", "from a program")
        ada.wait_for_text("log", "<i>Cyd</i> has left")
        bob.value("document.getElementById('leave').click()")
        ada.wait_for_text("log", "Bob has left")
        assert bob.value("document.activeElement.id") == "name"
        # What the server refuses is told where it was typed.
        bob.value("document.getElementById('name').value = ' '")
        bob.press_enter()
        bob.wait_for_text("problem", "name: 1 to 24")
        stop(server)


def test_chat_page_comes_back_to_a_room_whose_server_was_killed(tmp_path: Path) -> None:
    path = tmp_path / "dirty.sock"
    with (
        serving_chat("--dirty-socket", str(path)) as first,
        browsing(tmp_path) as browser,
        entered(first.port, "Ada") as ada,
    ):
        with serving_chat(beside=path) as second:
            port = second.port
            page = open_chat(browser, f"http://127.0.0.1:{port}/")
            enter(page, "Bob")
            page.type("before")
            page.press_enter()
            assert [ada.hear("joined"), ada.hear()] == ["Bob", "before"]
            os.kill(second.process.pid, signal.SIGKILL)
            page.wait_for_text("state", "reconnecting")
            page.type("typed meanwhile")
            page.press_enter()
        ada.say("meanwhile")
        assert ada.hear() == "meanwhile"
        with serving_chat(beside=path, bind=f"127.0.0.1:{port}") as third:
            page.wait_for("document.getElementById('state').className === 'connected'")
            assert page.text(".message p") == ["before", "meanwhile"]
            assert ada.hear("joined") == "Bob"
            page.press_enter()
            assert ada.hear() == "typed meanwhile"
            stop(third)
        page.wait_for_text("state", "reconnecting")
        stop(first)
