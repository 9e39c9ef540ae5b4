# SPDX-License-Identifier: MIT
"""The apps that the tests of real pools run: ``tests.dirty.apps:Work`` and others.

An action that is to be observed, or to last as long as a test wants, visits a *gate*: a Unix socket
of the test's (see real_pool.py). Being there is one line that it says; it goes on when it is
answered; that it has ended, in whatever way, the gate sees as an end of file.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import sys
import time
from typing import TYPE_CHECKING, Any, ClassVar

import trio
import trio.lowlevel

from trioserve.dirty import (
    BlockingDirtyClient,
    DirtyApp,
    DirtyError,
    cancelled,
    get_blocking_client,
    get_client,
    stash,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

#: What a worker weighs and has imported before its app; the modules of this file's own imports are
#: among them.
MODULES_AT_IMPORT = sorted(sys.modules)


class Visitor:
    """A blocking connection to a gate."""

    def __init__(self, gate: str, *words: object) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.connect(gate)
        self.say(os.getpid(), *words)

    def say(self, *words: object) -> None:
        self._socket.sendall(json.dumps(words).encode() + b"\n")

    def wait(self) -> str:
        return self._socket.recv(1000).decode()

    def leave(self) -> None:
        self._socket.close()


class Leaving:
    """A descriptor that makes no method: it leaves."""

    def __get__(self, instance: object, owner: type) -> Any:
        if instance is None:
            return self
        raise LeavingError

    def __call__(self) -> None:
        """So that it counts as an action."""


class SyncWork(DirtyApp):
    """Actions in threads."""

    unbindable = Leaving()

    def init(self) -> None:
        self.count = 0
        self._secret = "secret"
        self.on_instance = lambda: "no action"

    # -- plain ones -------------------------------------------------------------------------

    def echo(self, *args: Any, **kwargs: Any) -> Any:
        return {"args": list(args), "kwargs": kwargs}

    def add(self, one: int, two: int) -> int:
        return one + two

    def pid(self) -> int:
        return os.getpid()

    def same(self, value: Any) -> Any:
        return value

    def sleep(self, seconds: float) -> float:
        time.sleep(seconds)
        return seconds

    def items(self, count: int, size: int = 0) -> Iterator[Any]:
        for number in range(count):
            yield b"x" * size if size else number

    def compute(self, seconds: float) -> int:
        """Holds the interpreter's lock as much as it can."""
        end = time.monotonic() + seconds
        number = 0
        while time.monotonic() < end:
            number += sum(range(1000))
        return number

    def increment(self) -> int:
        self.count += 1
        return self.count

    # -- at a gate --------------------------------------------------------------------------

    def visit(self, gate: str, *words: object) -> str:
        visitor = Visitor(gate, *words)
        try:
            return visitor.wait()
        finally:
            visitor.leave()

    def watch(self, gate: str) -> str:
        """Goes on until its caller has gone."""
        visitor = Visitor(gate)
        while not cancelled():
            time.sleep(0.002)
        visitor.say("cancelled")
        visitor.leave()
        return "late"

    def numbers(self, gate: str, pause: float = 0) -> Iterator[int]:
        """Numbers without end; says when it is closed."""
        visitor = Visitor(gate)
        number = 0
        try:
            while True:
                yield number
                number += 1
                if pause:
                    time.sleep(pause)
        finally:
            visitor.say("closed", number)
            visitor.leave()

    # -- what goes wrong --------------------------------------------------------------------

    def fail(self, message: str = "no") -> None:
        raise ValueError(message)

    def fail_in_the_middle(self, count: int) -> Iterator[int]:
        yield from range(count)
        raise KeyError("in the middle")

    def exit(self, code: int) -> None:
        os._exit(code)

    def kill(self, number: int = signal.SIGKILL) -> None:
        os.kill(os.getpid(), number)
        time.sleep(60)

    def fork(self, gate: str) -> int:
        """Leaves a process behind that has all descriptors of this one."""
        pid = os.fork()
        if pid == 0:
            Visitor(gate).wait()
            os._exit(0)
        return pid

    def fork_and(self, gate: str, what: str) -> Any:
        """Forks; the child goes on as if it were the worker. The pids of both."""
        pid = os.fork()
        if pid:
            return [os.getpid(), pid]
        Visitor(gate, what)  # it stays until the process ends
        if what == "raise":
            raise ValueError("in the child")
        if what == "exit":
            sys.exit(7)
        if what == "unsendable":
            return object()
        return "from the child"

    def fork_items(self, gate: str) -> Iterator[Any]:
        pid = os.fork()
        if pid:
            yield [os.getpid(), pid]
            return
        Visitor(gate, "items")
        while True:
            yield "from the child"

    def wait_for(self, pid: int) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def leave_by(self, name: str) -> None:
        raise {
            "SystemExit": SystemExit(3),
            "KeyboardInterrupt": KeyboardInterrupt(),
            "BaseException": BaseException("base"),
            "SilentError": SilentError(),
            "LeavingError": LeavingError(),
            "surrogates": OddError("bad \udc80 text"),
            "StopIteration": StopIteration(1),
        }[name]

    def unsendable(self) -> object:
        return object()

    def unsendable_item(self) -> Iterator[object]:
        yield 1
        yield object()

    def deep(self, depth: int) -> Any:
        value: list[Any] = []
        for _ in range(depth):
            value = [value]
        return value

    def large(self, size: int) -> bytes:
        return b"y" * size

    def _private(self) -> str:
        return "private"

    @property
    def constant(self) -> str:
        return "constant"

    # -- what is in the process -------------------------------------------------------------

    def modules(self) -> list[str]:
        return sorted(sys.modules)

    def environment(self) -> dict[str, Any]:
        return {"socket": os.environ.get("TRIOSERVE_DIRTY_SOCKET"), "path": sys.path}

    def say(self, text: str) -> None:
        print(text, flush=True)

    def log(self, text: str) -> None:
        logging.getLogger("trioserve.error").warning(text)

    # -- calls and the stash from inside ----------------------------------------------------

    def call_blocking(self, app: str, action: str, *args: Any) -> Any:
        return get_blocking_client().execute(app, action, *args)

    def call_other(self, path: str, app: str, action: str, *args: Any) -> Any:
        """Of the pool there."""
        with BlockingDirtyClient(path) as client:
            return client.execute(app, action, *args)

    def call_and_go_on(self, gate: str, app: str, action: str, *args: Any) -> str:
        """Says what becomes of a call that it makes."""
        visitor = Visitor(gate)
        try:
            get_blocking_client().execute(app, action, *args)
            visitor.say("well")
        except DirtyError as exc:
            visitor.say(type(exc).__name__, str(exc))
        return visitor.wait()

    def put(self, table: str, key: str, value: Any) -> None:
        stash.put(table, key, value)


class Work(SyncWork):
    """Actions of all kinds."""

    # -- plain ones -------------------------------------------------------------------------

    async def aecho(self, *args: Any, **kwargs: Any) -> Any:
        await trio.lowlevel.checkpoint()
        return {"args": list(args), "kwargs": kwargs}

    async def apid(self) -> int:
        return os.getpid()

    async def asame(self, value: Any) -> Any:
        return value

    async def block_the_loop(self, seconds: float) -> float:
        time.sleep(seconds)  # noqa: ASYNC251  that is what it is for
        return seconds

    async def asleep(self, seconds: float) -> float:
        await trio.sleep(seconds)
        return seconds

    async def aitems(self, count: int, size: int = 0) -> AsyncIterator[Any]:
        for number in range(count):
            yield b"x" * size if size else number

    # -- at a gate --------------------------------------------------------------------------

    async def avisit(self, gate: str, *words: object) -> str:
        with trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            await sock.connect(gate)
            await sock.send(json.dumps([os.getpid(), *words]).encode() + b"\n")
            try:
                return (await sock.recv(1000)).decode()
            except trio.Cancelled:
                with trio.move_on_after(1, shield=True):
                    await sock.send(b'["cancelled"]\n')
                raise

    async def anumbers(self, gate: str) -> AsyncIterator[int]:
        visitor = Visitor(gate)
        number = 0
        try:
            while True:
                yield number
                number += 1
        finally:
            visitor.say("closed", number)
            visitor.leave()

    async def stubborn(self, gate: str) -> None:
        """Ignores its cancellation."""
        visitor = Visitor(gate)
        with trio.CancelScope(shield=True):
            await trio.sleep_forever()
        visitor.leave()

    # -- what goes wrong --------------------------------------------------------------------

    async def afail(self, message: str = "no") -> None:
        raise OwnError(message)

    async def afail_in_the_middle(self, count: int) -> AsyncIterator[int]:
        for number in range(count):
            yield number
        raise KeyError("in the middle")

    async def aexit(self, code: int) -> None:
        os._exit(code)

    async def afork_and(self, gate: str, what: str) -> Any:
        result = self.fork_and(gate, what)
        if what == "wait" and isinstance(result, str):
            await trio.lowlevel.checkpoint()  # in the child
            os._exit(99)
        return result

    async def afork_items(self, gate: str) -> AsyncIterator[Any]:
        for item in self.fork_items(gate):
            yield item

    async def aleave_by(self, name: str) -> None:
        self.leave_by(name)

    async def fail_when_cancelled(self, gate: str) -> None:
        """Its cleanup fails: beside its Cancelled there is another exception."""
        visitor = Visitor(gate)

        async def clean_up_badly() -> None:
            try:
                await trio.sleep_forever()
            finally:
                visitor.leave()
                raise ValueError("the cleanup failed")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(clean_up_badly)
            nursery.start_soon(trio.sleep_forever)

    async def aunsendable(self) -> object:
        return [object()]

    # -- calls and the stash from inside ----------------------------------------------------

    async def call(self, app: str, action: str, *args: Any) -> Any:
        return await get_client().execute(app, action, *args)

    async def call_itself(self, times: int) -> int:
        if times == 0:
            return 0
        return 1 + int(await get_client().execute(f"{__name__}:Work", "call_itself", times - 1))

    async def stream(self, app: str, action: str, *args: Any) -> AsyncIterator[Any]:
        async with get_client().stream(app, action, *args) as items:
            async for item in items:
                yield ["through", item]

    async def aput(self, table: str, key: str, value: Any) -> Any:
        await get_client().stash.put(table, key, value)
        return await get_client().stash.get(table, key)


class OwnError(Exception):
    """An exception of the app's own."""


class SilentError(Exception):
    """One that fails to say what it is."""

    def __str__(self) -> str:
        raise RuntimeError("I won't say")


class LeavingError(Exception):
    """One that leaves when it is asked what it is."""

    def __str__(self) -> str:
        raise SystemExit(3)


class OddError(BaseException):
    """One of which UTF-8 can't hold the name."""

    __qualname__ = "Odd\udc80Error"


class Other(Work):
    """Beside Work, in the same lanes."""


class Single(Work):
    """In one worker only."""

    workers: ClassVar[int | None] = 1


class Threads(Work):
    """With four threads of its own."""

    threads: ClassVar[int | None] = 4


class Short(Work):
    """Its calls may take half a second."""

    timeout: ClassVar[float | None] = 0.5


class Patient(Work):
    """Its calls may take any time."""

    timeout: ClassVar[float | None] = 0


class FewRequests(Work):
    """Its worker is replaced after ten calls."""

    max_requests: ClassVar[int | None] = 10


class Greedy(Work):
    """Its worker is replaced when it weighs more than 80 MiB."""

    max_rss: ClassVar[int | None] = 80 << 20

    def grow(self, size: int) -> int:
        self.ballast = bytearray(os.urandom(1)) * size
        return os.getpid()


class Heavy(Work):
    """Weighs more than it may from the start."""

    max_rss: ClassVar[int | None] = 1


class SyncJournal(DirtyApp):
    """Each call writes its number to a file, so that a second run of it would be seen."""

    def write(self, path: str, number: int, duration: float) -> int:
        _append(path, number)
        if duration:
            time.sleep(duration)
        return number

    def items(self, path: str, number: int, duration: float) -> Iterator[int]:
        _append(path, number)
        for _ in range(3):
            time.sleep(duration)
            yield number


class Journal(SyncJournal):
    """The same with async actions."""

    async def awrite(self, path: str, number: int, duration: float) -> int:
        _append(path, number)
        await trio.sleep(duration)
        return number


def _append(path: str, number: int) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, b"%d\n" % number)
    os.close(fd)


class Stashing(Work):
    """Declares tables of the stash."""

    stashes: ClassVar[tuple[str, ...]] = ("sessions", "cache")


class Switchboard(DirtyApp):
    """Dispatches by itself."""

    def __call__(self, action: str, *args: Any, **kwargs: Any) -> Any:
        if action == "numbers":
            return iter_numbers(*args)
        return [action, *args]


def iter_numbers(count: int) -> Iterator[int]:
    yield from range(count)


class Slow(DirtyApp):
    """Its ``init`` and ``close`` visit gates, whose path is in the environment."""

    def init(self) -> None:
        self._visit("init")

    def close(self) -> None:
        self._visit("close")

    def _visit(self, stage: str) -> None:
        gate = os.environ.get("TEST_GATE")
        if gate:
            visitor = Visitor(gate, stage)
            visitor.wait()

    def pid(self) -> int:
        return os.getpid()


class Versioned(DirtyApp):
    """Gives what is in a file of the environment's, read when it starts."""

    workers: ClassVar[int | None] = 1

    def init(self) -> None:
        with open(os.environ["TEST_VERSION"]) as file:
            self.version = file.read()
        if self.version == "broken":
            raise RuntimeError("this version is broken")

    async def get(self) -> str:
        return self.version


class MayStart(Work):
    """Can be initialised while a file is there."""

    def init(self) -> None:
        super().init()
        if not os.path.exists(os.environ["TEST_MAY_START"]):
            raise RuntimeError("the file has gone")


class NoStart(DirtyApp):
    """Can't be initialised."""

    def init(self) -> None:
        raise RuntimeError("the model file is missing")


class ExitsAtStart(DirtyApp):
    """Leaves in ``init``."""

    def init(self) -> None:
        sys.exit("no licence")


class LeavesSilently(DirtyApp):
    """Raises in ``init`` what can't say what it is."""

    def init(self) -> None:
        raise LeavingError


class OddAtStart(DirtyApp):
    """Raises in ``init`` what UTF-8 can't hold."""

    async def init(self) -> None:
        raise OddError("bad \udc80 text")


class DiesAtStart(DirtyApp):
    """Dies in ``init``."""

    def init(self) -> None:
        os._exit(9)


class FailsToClose(Work):
    """Its ``close`` raises."""

    def close(self) -> None:
        raise RuntimeError("close failed")


class LeavesAtTheEnd(Work):
    """Its ``close`` leaves."""

    def close(self) -> None:
        sys.exit("goodbye")


def write_to_log(worker: Any) -> None:
    """A hook in the worker."""
    worker.apps["tests.dirty.apps:Work"].count = 1000


def leave_worker(worker: Any) -> None:
    """A hook in the worker that leaves."""
    sys.exit(5)


def raise_in_worker(worker: Any) -> None:
    """A hook in the worker that fails."""
    raise RuntimeError("hook failed")
