# SPDX-License-Identifier: MIT
"""Chromium, headless, driven by its DevTools protocol."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

from websockets.sync.client import connect

from tests.server_process import PATIENCE, running
from tests.tools import find_tool

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from websockets.sync.client import ClientConnection

__all__ = ["Browser", "Page", "browsing"]


class Browser:
    """Chromium by its DevTools protocol.

    Args:
        ws: the browser's own DevTools WebSocket.
    """

    def __init__(self, ws: ClientConnection) -> None:
        self._ws = ws
        self._last = 0

    def call(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        """A command and its result; events on the way are dropped."""
        self._last += 1
        command = {"id": self._last, "method": method, "params": params}
        self._ws.send(json.dumps(command if session is None else {**command, "sessionId": session}))
        while (answer := json.loads(self._ws.recv(PATIENCE))).get("id") != self._last:
            pass
        assert "error" not in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    def open(self, url: str, ready: str = "true") -> Page:
        """A new tab, once it is loaded and a JavaScript expression is true in it."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        page = Page(self, attached["sessionId"])
        page.call("Page.navigate", url=url)
        page.wait_for(f"document.readyState === 'complete' && {ready}")
        return page


class Page:
    """A tab."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser = browser
        self._session = session

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        return self._browser.call(method, self._session, **params)

    def value(self, expression: str) -> Any:
        """What a JavaScript expression is in the page; a promise is awaited."""
        options = {"awaitPromise": True, "returnByValue": True}
        answer = self.call("Runtime.evaluate", expression=expression, **options)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait_for(self, condition: str) -> None:
        """Until a condition holds: it is looked at whenever the document or the focus changes."""
        self.value(
            f"""new Promise((resolve) => {{
              const look = () => {{ if ({condition}) {{ observer.disconnect(); resolve(); }} }};
              const observer = new MutationObserver(look);
              const all = {{ subtree: true, childList: true, characterData: true }};
              observer.observe(document, {{ ...all, attributes: true }});
              for (const event of ["load", "focusin"]) addEventListener(event, look);
              look();
            }})"""
        )

    def wait_for_text(self, ident: str, text: str) -> None:
        """Until an element's text has this in it."""
        has = f"document.getElementById({json.dumps(ident)})?.textContent"
        self.wait_for(f"{has}.includes({json.dumps(text)})")

    def text(self, selector: str) -> list[str]:
        """The texts of all elements that a selector finds."""
        found = f"document.querySelectorAll({json.dumps(selector)})"
        texts: list[str] = self.value(f"Array.from({found}, (element) => element.textContent)")
        return texts

    def type(self, text: str) -> None:
        """Types into whatever has the focus, in front of the other tabs."""
        self.call("Page.bringToFront")
        self.call("Input.insertText", text=text)

    def press_enter(self) -> None:
        event = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13}
        self.call("Input.dispatchKeyEvent", type="keyDown", text="\r", **event)
        self.call("Input.dispatchKeyEvent", type="keyUp", **event)


@contextlib.contextmanager
def browsing(folder: Path) -> Iterator[Browser]:
    command = [
        find_tool("chromium"),
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--no-proxy-server",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        f"--user-data-dir={folder / 'profile'}",
        "--remote-debugging-port=0",
        "about:blank",
    ]
    with running(*command) as chromium:
        url = chromium.stderr.wait_for(r"DevTools listening on (ws://\S+)")[1]
        with connect(url, proxy=None, max_size=None, ping_interval=None) as ws:
            browser = Browser(ws)
            yield browser
            browser.call("Browser.close")
        chromium.wait()
