# SPDX-License-Identifier: MIT
"""Something at a socket that says just what a test wants, in threads: for blocking clients.

Threads: one accepts, one a connection; all have ended when the block is left.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections import deque
from typing import TYPE_CHECKING

from tests.dirty.raw_peer import PATIENCE
from trioserve.dirty import frames
from trioserve.dirty.frames import Frame, FrameReader, FrameType, Parts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["ThreadArbiter", "ThreadPeer", "answering", "listening"]


class ThreadPeer:
    """The arbiter's side of one connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._reader = FrameReader()
        self._arrived: deque[Frame] = deque()

    def receive(self) -> Frame:
        """The next frame; EOFError if there is none."""
        while not self._arrived:
            data = self.sock.recv(65536)
            if not data:
                raise EOFError
            self._arrived.extend(self._reader.feed(data))
        return self._arrived.popleft()

    def send(self, parts: Parts) -> None:
        self.sock.sendall(b"".join(map(bytes, parts)))


class ThreadArbiter:
    """What came.

    Attributes:
        count: connections so far.
        ended: of them, those that have ended.
    """

    def __init__(self, path: str, serve: Callable[[ThreadPeer], object]) -> None:
        self.count = 0
        self.ended = threading.Semaphore(0)
        self._serve = serve
        self._threads: list[threading.Thread] = []
        self._socks: list[socket.socket] = []
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(path)
        self._listener.listen()
        self._start(self._accept)

    def _start(self, target: Callable[..., object], *args: object) -> None:
        thread = threading.Thread(target=target, args=args)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                sock.settimeout(PATIENCE)
                self.count += 1
                self._socks.append(sock)
                self._start(self._run, sock)

    def _run(self, sock: socket.socket) -> None:
        with sock, contextlib.suppress(EOFError, OSError):
            self._serve(ThreadPeer(sock))
        self.ended.release()

    def wait_for_end(self) -> None:
        """Of one more connection."""
        assert self.ended.acquire(timeout=PATIENCE)

    def close(self) -> None:
        for sock in [self._listener, *self._socks]:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(PATIENCE)


@contextlib.contextmanager
def listening(path: str, serve: Callable[[ThreadPeer], object]) -> Iterator[ThreadArbiter]:
    """Runs ``serve`` for each connection to ``path``, around the block."""
    arbiter = ThreadArbiter(path, serve)
    try:
        yield arbiter
    finally:
        arbiter.close()


def answering(times: int = 1 << 30) -> Callable[[ThreadPeer], None]:
    """Answers so many requests by their arguments, then closes."""

    def serve(peer: ThreadPeer) -> None:
        for _ in range(times):
            frame_type, request_id, payload = peer.receive()
            result = frames.decode_request(payload).args if frame_type == FrameType.REQUEST else {}
            peer.send(frames.response(request_id, result))

    return serve
