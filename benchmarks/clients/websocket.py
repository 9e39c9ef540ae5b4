# SPDX-License-Identifier: MIT
"""The load generator of WebSocket: a Load of websocket_load.py in a process of its own.

It opens its connections, writes a line, and then makes a load for each number of seconds that it is
told on a line, and answers with a line of JSON. The end of its standard input is its own.
"""

from __future__ import annotations

import contextlib
import gc
import json
import select
import subprocess
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from benchmarks.clients.idle_connections import ClientError
from benchmarks.clients.websocket_broadcast import Broadcast
from benchmarks.clients.websocket_echo import Echo
from benchmarks.core.load import LoadError, LoadResult
from benchmarks.core.rounds import progress

if TYPE_CHECKING:
    from collections.abc import Iterator

# For a thousand connections to the slowest server, 10 ms a message.
READY_TIMEOUT = 60.0
# Beyond the seconds of a load: the last replies, as many as there are connections.
ANSWER_TIMEOUT = 60.0
EXIT_TIMEOUT = 5.0
KINDS = {"echo": Echo, "broadcast": Broadcast}


class Generator:
    """The parent's side: connections that are open, and loads made over them."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def load(self, seconds: float) -> LoadResult:
        """Makes one load.

        Raises:
            LoadError: the process ended, or took longer than ANSWER_TIMEOUT more.
        """
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(b"%g\n" % seconds)
        answer = self.answer(seconds + ANSWER_TIMEOUT)
        for reason, count in answer["failures"].items():
            progress(f"{count} connections: {reason}")
        return LoadResult(**answer["result"])

    def answer(self, timeout: float) -> dict[str, Any]:
        """Waits for a line.

        Raises:
            LoadError: see load; or it says that it could not open its connections.
        """
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], timeout)[0]:
            raise LoadError(f"the load generator did not answer in {timeout:.0f} s")
        line = self._process.stdout.readline()
        if not line:
            raise LoadError("the load generator ended")
        answer: dict[str, Any] = json.loads(line)
        if "failure" in answer:
            raise LoadError(answer["failure"])
        return answer


@contextlib.contextmanager
def generating(
    port: int, kind: str, *, connections: int, size: int, in_flight: int
) -> Iterator[Generator]:
    """Holds WebSocket connections to 127.0.0.1:`port` for the length of the block.

    Args:
        kind: one of KINDS.
        connections: of a broadcast: subscribers.
        size: bytes of a message.
        in_flight: messages that have no reply yet, on each connection; of a broadcast: in all.

    Raises:
        LoadError: they could not be opened, or a first message did not come back.
    """
    numbers = map(str, (port, connections, size, in_flight))
    # Without buffers: what a process that is gone did not take would come up again at the end.
    process = subprocess.Popen(
        [sys.executable, "-m", __name__, kind, *numbers],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
    )
    # Leaving Popen's block closes the pipes and reaps.
    with process:
        try:
            generator = Generator(process)
            generator.answer(READY_TIMEOUT)
            yield generator
            assert process.stdin is not None
            process.stdin.close()
            process.wait(EXIT_TIMEOUT)
        except subprocess.TimeoutExpired:
            pass  # it has measured all there was to measure
        finally:
            process.kill()


def main(kind: str, port: int, connections: int, size: int, in_flight: int) -> None:
    """Runs the child's side."""
    # A collection would be the slowest message's latency; there are no cycles to speak of.
    gc.disable()
    with contextlib.closing(KINDS[kind](size, in_flight)) as load:
        try:
            load.open(port, connections)
        except ClientError as exc:
            print(json.dumps({"failure": str(exc)}), flush=True)
            return
        print(json.dumps({}), flush=True)
        for line in sys.stdin:
            result = load.run(float(line))
            answer = {"result": asdict(result), "failures": load.failures()}
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
