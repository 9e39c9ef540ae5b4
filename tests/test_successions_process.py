# SPDX-License-Identifier: MIT
"""What may come together in a server: a drain with connections, an upgrade with a stop."""

from __future__ import annotations

import os
import signal
import socket
import threading
from typing import TYPE_CHECKING

import pytest

from tests.plain_client import get
from tests.server_process import TRIOSERVE, running
from tests.worker_processes import Site, children_of, is_alive, needs_proc, wait_until

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.slow, needs_proc]


def test_with_reuse_port_a_place_that_drains_gets_no_connection(tmp_path: Path) -> None:
    site = Site(tmp_path)
    with site.serving("--reuse-port", workers=2) as server:
        slow = [
            threading.Thread(target=get, args=(server.port, "/slow?3"), daemon=True)
            for _ in range(8)
        ]
        for thread in slow:
            thread.start()
        server.stdout.wait_for("slow begins", 8)
        server.process.send_signal(signal.SIGTTOU)
        server.stderr.wait_for("SIGTTOU: 1 HTTP workers are wanted")
        answers = [get(server.port, "/").text for _ in range(20)]
        assert answers == ["one"] * 20
        for thread in slow:
            thread.join(20)


def test_a_stop_during_an_upgrade_ends_the_new_server_too(tmp_path: Path) -> None:
    site = Site(tmp_path)
    with site.serving(workers=0) as server:
        threading.Thread(target=get, args=(server.port, "/slow?4"), daemon=True).start()
        server.stdout.wait_for("slow begins")
        site.write("""
            import time
            print("the new one starts", flush=True)
            time.sleep(2)
            from tests.workers_app import app
            """)
        server.send_signal(signal.SIGUSR2)
        server.stdout.wait_for("the new one starts")
        (new,) = children_of(server.process.pid)
        server.send_signal(signal.SIGTERM)
        server.stderr.wait_for("so there is no new one either")
        assert server.wait() == 0
        wait_until(lambda: not is_alive(new), "the new server has ended")


def test_an_address_that_a_new_server_does_not_want_any_more_is_closed(tmp_path: Path) -> None:
    site = Site(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as free:
        kept = free.getsockname()[1]
    with socket.create_server(("127.0.0.1", 0)) as free:
        left = free.getsockname()[1]
    site.settings(f'bind = ["127.0.0.1:{kept}", "127.0.0.1:{left}"]')
    command = (TRIOSERVE, "site_app:app", "--app-dir", tmp_path)
    with running(*command, "--config", tmp_path / "trioserve.toml") as server:
        _ = server.address
        assert get(left, "/").status == 200
        site.settings(f'bind = ["127.0.0.1:{kept}"]')
        server.send_signal(signal.SIGUSR2)
        server.stderr.wait_for("trioserve is serving on", 2)
        assert server.wait() == 0
        new = int(get(kept, "/pid").text.split()[-1])
        try:
            with pytest.raises(ConnectionRefusedError):
                get(left, "/")
        finally:
            os.kill(new, signal.SIGTERM)
        wait_until(lambda: not is_alive(new), "the new server has ended")


def test_a_server_whose_workers_can_not_be_executed_ends(tmp_path: Path) -> None:
    Site(tmp_path).write("""
        import sys
        def start(arbiter): sys.executable = "/nowhere/python"
        """)
    command = (TRIOSERVE, "site_app:app", "--app-dir", tmp_path, "--bind", "127.0.0.1:0")
    with running(*command, "--workers=2", "--on-starting=site_app:start") as server:
        assert server.wait() == 3
        assert "its process can't be started" in server.stderr.text
