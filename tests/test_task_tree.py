# SPDX-License-Identifier: MIT
"""The tree of nurseries and tasks: what it says of known ones, and how it reads."""

from __future__ import annotations

import contextlib
import json
import math
import queue
import threading
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.lowlevel
import trio.testing

from trioserve.task_tree import Node, describe_tasks, describe_threads, render_tasks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


def node(task: str, *nurseries: list[Node], **differs: Any) -> Node:
    """A node as describe_tasks makes it."""
    return {
        "task": task,
        "waits_at": [],
        "deadline": None,
        "cancelled": False,
        "nurseries": list(nurseries),
        **differs,
    }


def find(tree: Node, name: str) -> Node:
    """The one task of a tree whose name ends so."""

    def walk(one: Node) -> list[Node]:
        below = [found for nodes in one["nurseries"] for child in nodes for found in walk(child)]
        return [one, *below] if one["task"].endswith(name) else below

    [found] = walk(tree)
    return found


async def settled() -> Node:
    """The tree once all tasks wait."""
    await trio.testing.wait_all_tasks_blocked()
    return describe_tasks()


# -- what is described ------------------------------------------------------------------------


async def waiting() -> None:
    await trio.sleep_forever()


async def calling() -> None:
    await waiting()


async def test_a_task_has_its_name_and_says_where_it_waits(autojump_clock: object) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(calling)
        nursery.start_soon(waiting, name="the waiting one")
        tree = await settled()
        nursery.cancel_scope.cancel()
    found = find(tree, "test_task_tree.calling")
    here = __file__.rpartition("/")[2]
    own, inner, trios = found["waits_at"]
    assert own == f"tests/{here}:{calling.__code__.co_firstlineno + 1} calling"
    assert inner == f"tests/{here}:{waiting.__code__.co_firstlineno + 1} waiting"
    assert trios.startswith("trio/_timeouts.py:")
    assert trios.endswith(" sleep_forever")
    assert find(tree, "the waiting one")["waits_at"] == [inner, trios]
    assert found["deadline"] is None
    assert found["cancelled"] is False
    assert found["nurseries"] == []


async def test_of_a_library_only_its_border_is_named(autojump_clock: object) -> None:
    @contextlib.asynccontextmanager
    async def managed() -> AsyncIterator[None]:
        yield
        await trio.sleep_forever()

    async def leave() -> None:
        async with managed():
            pass

    async with trio.open_nursery() as nursery:
        nursery.start_soon(leave)
        tree = await settled()
        nursery.cancel_scope.cancel()
    files = [frame.partition(":")[0] for frame in find(tree, "leave")["waits_at"]]
    here = "tests/test_task_tree.py"
    assert files == [here, "contextlib.py", here, "trio/_timeouts.py"]


async def test_nurseries_are_nested_as_they_are_open(autojump_clock: object) -> None:
    async def parent() -> None:
        async with trio.open_nursery() as outer, trio.open_nursery() as inner:
            outer.start_soon(waiting, name="outer child")
            inner.start_soon(waiting, name="first inner child")
            inner.start_soon(waiting, name="second inner child")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(parent)
        tree = await settled()
        nursery.cancel_scope.cancel()
    names = [[child["task"] for child in nodes] for nodes in find(tree, "parent")["nurseries"]]
    assert names == [["outer child"], ["first inner child", "second inner child"]]


async def test_deadlines_are_those_of_any_scope_around(autojump_clock: object) -> None:
    async def limited() -> None:
        with trio.move_on_after(7):
            await trio.sleep_forever()

    async def shielded() -> None:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 20):
            await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        nursery.cancel_scope.deadline = trio.current_time() + 10
        for function in (limited, waiting, shielded):
            nursery.start_soon(function)
        tree = await settled()
        nursery.cancel_scope.cancel()
    assert find(tree, "limited")["deadline"] == 7
    assert find(tree, "waiting")["deadline"] == 10
    assert find(tree, "shielded")["deadline"] == 20


async def test_a_task_that_is_being_cancelled_says_so(autojump_clock: object) -> None:
    async def stubborn() -> None:
        try:
            await trio.sleep_forever()
        finally:
            with trio.move_on_after(1, shield=True):
                async with trio.open_nursery() as inner:
                    inner.start_soon(trio.sleep, 5, name="cleaning up")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(stubborn)
        await settled()
        nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            tree = await settled()
    # The shield keeps both from it.
    assert find(tree, "cleaning up")["cancelled"] is False

    async with trio.open_nursery() as nursery:
        nursery.start_soon(waiting)
        nursery.cancel_scope.cancel()
        tree = describe_tasks()  # it has not run since
    assert find(tree, "waiting")["cancelled"] is True
    assert find(tree, "waiting")["deadline"] is None


async def test_tasks_beyond_the_bound_are_counted(autojump_clock: object) -> None:
    async def parent() -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(waiting)

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(parent)
        everything = await settled()
        above = count(everything) - 33
        tree = describe_tasks(max_tasks=above + 3 + 4)
        nursery.cancel_scope.cancel()
    parents = [find_all(tree, "parent")[number]["nurseries"][0] for number in range(3)]
    # The outer ones first: all parents, then four of the first one's children.
    assert [child["task"] for child in parents[0]] == [
        *["tests.test_task_tree.waiting"] * 4,
        "… and 6 more",
    ]
    assert parents[0][-1]["more"] == 6
    assert [len(children) for children in parents[1:]] == [1, 1]
    assert parents[1][0]["more"] == 10


async def test_levels_beyond_the_bound_are_counted(autojump_clock: object) -> None:
    async def nested(levels: int) -> None:
        if not levels:
            await trio.sleep_forever()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(nested, levels - 1)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(nested, 60)
        tree = await settled()
        nursery.cancel_scope.cancel()
    assert json.loads(json.dumps(tree)) == tree
    last = render_tasks(tree).splitlines()[-1]
    hidden = int(last.partition("and ")[2].partition(" more")[0])
    assert 20 <= hidden <= 25


def count(tree: Node) -> int:
    return 1 + sum(count(child) for nodes in tree["nurseries"] for child in nodes)


def find_all(tree: Node, name: str) -> list[Node]:
    below = [
        found for nodes in tree["nurseries"] for child in nodes for found in find_all(child, name)
    ]
    return [tree, *below] if tree["task"].endswith(name) else below


async def test_system_tasks_are_apart_and_trios_own_are_left_out(autojump_clock: object) -> None:
    tree = describe_tasks()
    assert "system" not in tree
    ended = trio.Event()
    trio.lowlevel.spawn_system_task(ended.wait, name="a system task")
    tree = await settled()
    ended.set()
    assert [one["task"] for one in tree["system"]] == ["a system task"]


def test_it_needs_a_running_loop() -> None:
    with pytest.raises(RuntimeError, match="async context"):
        describe_tasks()


def test_threads_are_described_by_their_stacks() -> None:
    gate: queue.SimpleQueue[None] = queue.SimpleQueue()
    there = threading.Event()

    def work() -> None:
        there.set()
        gate.get()

    thread = threading.Thread(target=work, name="a busy thread")
    thread.start()
    assert there.wait(30)
    [found] = [one for one in describe_threads() if one["task"] == "a busy thread"]
    gate.put(None)
    thread.join()
    assert found["waits_at"][-1].startswith("tests/test_task_tree.py:")
    assert found["waits_at"][-1].endswith("work")
    assert threading.current_thread().name not in [one["task"] for one in describe_threads()]


# -- how it reads -----------------------------------------------------------------------------


def test_a_tree_reads_as_a_tree() -> None:
    tree = node(
        "main",
        [
            node("listener", waits_at=["a.py:1 listen", "trio/_socket.py:2 accept"]),
            node("clients", [node("client", deadline=1.5), node("client", deadline=4.25)]),
            node("ending", cancelled=True),
        ],
        waits_at=["b.py:1 one", "b.py:2 two", "b.py:3 three", "b.py:4 four"],
    )
    assert render_tasks(tree).splitlines() == [
        "main",
        "│    b.py:2 two › b.py:3 three › b.py:4 four",
        "├─ listener",
        "│       a.py:1 listen › trio/_socket.py:2 accept",
        "├─ clients",
        "│  └─ client × 2 (deadline in 1.5 to 4.2 s)",
        "└─ ending (cancelled)",
    ]


def test_several_nurseries_of_a_task_are_numbered() -> None:
    tree = node("main", [node("a")], [], [node("b")])
    assert render_tasks(tree).splitlines() == [
        "main",
        "├─ nursery 1",
        "│  └─ a",
        "├─ nursery 2, empty",
        "└─ nursery 3",
        "   └─ b",
    ]


def test_siblings_that_do_not_differ_are_one() -> None:
    connections = [node("connection", [node("request", deadline=n)]) for n in range(510)]
    other = node("connection", [node("request", waits_at=["app.py:1 app"])])
    tree = node("main", [*connections, other, *connections[:2]])
    assert render_tasks(tree).splitlines() == [
        "main",
        "├─ connection × 512",
        "│  └─ request (deadline in 0.0 s)",
        "└─ connection",
        "   └─ request",
        "           app.py:1 app",
    ]


def test_system_tasks_and_threads_have_headings() -> None:
    tree = node("main", system=[node("s")], threads=[node("dirty-0"), node("dirty-1")])
    assert render_tasks(tree).splitlines() == [
        "main",
        "system tasks:",
        "└─ s",
        "threads:",
        "├─ dirty-0",
        "└─ dirty-1",
    ]


def test_a_name_can_not_write_to_the_terminal() -> None:
    assert render_tasks(node("a\x1b[2Jb\nc")) == "a�[2Jb�c"


async def test_a_tree_is_json(autojump_clock: object) -> None:
    async with trio.open_nursery() as nursery:
        nursery.cancel_scope.deadline = trio.current_time() + math.inf
        nursery.start_soon(waiting)
        tree = await settled()
        nursery.cancel_scope.cancel()
    assert json.loads(json.dumps(tree, allow_nan=False)) == tree
