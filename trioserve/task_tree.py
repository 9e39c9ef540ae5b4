# SPDX-License-Identifier: MIT
"""The live tree of a process's nurseries and tasks, as Trio sees it, and as people read it.

A *node* is a dict that JSON can carry:

=============  =====================================================================================
key            value
=============  =====================================================================================
``task``       the task's name
``waits_at``   where it waits: ``file.py:123 function``, the innermost last. Of a library's frames
               only those at its border
``deadline``   seconds until Trio cancels it, by whatever scope around it; None: nothing will
``cancelled``  whether it is being cancelled
``nurseries``  its open nurseries, the outermost first; each the list of the nodes of its tasks
=============  =====================================================================================

Where a bound is met, a node stands for those that are left out: it has a key ``more``, how many.
The root may have two more keys, each a list of nodes: ``system``, Trio's system tasks but its own,
and ``threads`` (see describe_threads).
"""

from __future__ import annotations

import math
import os
import sys
import threading
from collections import deque
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import trio

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import CodeType, FrameType

__all__ = ["Node", "describe_tasks", "describe_threads", "render_tasks"]

Node: TypeAlias = dict[str, Any]

#: Tasks, and levels of nurseries, that are described; the outer ones first.
_MAX_TASKS: Final = 10_000
_MAX_DEPTH: Final = 40
_MAX_SYSTEM_TASKS: Final = 100
#: Frames of a task that are described, and those of them that are shown.
_MAX_FRAMES: Final = 6
_SHOWN_FRAMES: Final = 3
#: Packages that carry others' code: who calls them tells all.
_CARRIERS: Final = frozenset({"trio", "outcome", "contextlib", "threading", "queue"})

# -- what there is ----------------------------------------------------------------------------


def describe_tasks(*, max_tasks: int = _MAX_TASKS, max_depth: int = _MAX_DEPTH) -> Node:
    """The main task of this thread's Trio loop, and all below it. From within the loop.

    It takes some 10 µs a task, in which nothing else runs.

    Args:
        max_tasks: more are counted only; outer ones come first.
        max_depth: what lies deeper is counted only.

    Raises:
        RuntimeError: no Trio loop runs in this thread.
    """
    init = trio.lowlevel.current_root_task()
    assert init is not None  # a loop runs
    walk = _Walk(max_tasks, max_depth)
    # Trio's own task has a nursery for calls from threads, one for system tasks, one for the main
    # task, within each other.
    *_, main = [[], *(nursery.child_tasks for nursery in init.child_nurseries[2:])]
    system = [
        task
        for nursery in init.child_nurseries[:2]
        for task in nursery.child_tasks
        if not task.name.startswith("<TrioToken")
    ]
    if len(main) != 1:  # the main task has ended
        return walk.describe([init])[0]
    (root,) = walk.describe(main)
    if system:
        root["system"] = _Walk(_MAX_SYSTEM_TASKS, max_depth).describe(system)
    return root


def describe_threads() -> list[Node]:
    """A node for each thread of this process but the calling one: its name, and where it is."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    labels = _Labels()
    nodes = [
        _node(names.get(ident, f"thread {ident}"), labels.of(_outermost_first(frame)))
        for ident, frame in sys._current_frames().items()
        if ident != threading.get_ident()
    ]
    return sorted(nodes, key=lambda node: str(node["task"]))


def _node(name: str, waits_at: list[str]) -> Node:
    return {
        "task": name,
        "waits_at": waits_at,
        "deadline": None,
        "cancelled": False,
        "nurseries": [],
    }


class _Walk:
    """Breadth first: so what is left out where there is too much are leaves."""

    def __init__(self, max_tasks: int, max_depth: int) -> None:
        self._left = max_tasks
        self._max_depth = max_depth
        self._now = trio.current_time()
        self._labels = _Labels()

    def describe(self, tasks: Iterable[trio.lowlevel.Task]) -> list[Node]:
        """The nodes of these tasks, with all below them."""
        top: list[Node] = []
        queue: deque[tuple[Iterable[trio.lowlevel.Task], list[Node], int]] = deque()
        queue.append((tasks, top, 1))
        while queue:
            siblings, nodes, depth = queue.popleft()
            left_out = []
            for task in sorted(siblings, key=_age):
                if not self._left or depth > self._max_depth:
                    left_out.append(task)
                    continue
                self._left -= 1
                node = self._describe(task)
                nodes.append(node)
                for nursery in task.child_nurseries:
                    children: list[Node] = []
                    node["nurseries"].append(children)
                    queue.append((nursery.child_tasks, children, depth + 1))
            if left_out:
                more = _count(left_out)
                nodes.append(_node(f"… and {more:,} more", []) | {"more": more})
        return top

    def _describe(self, task: trio.lowlevel.Task) -> Node:
        node = _node(
            task.name,
            self._labels.of((frame, line) for frame, line in task.iter_await_frames()),
        )
        # Trio tells a task's deadline to that task only; what it has it from is no public name.
        status = getattr(task, "_cancel_status", None)
        deadline = status.effective_deadline() if status is not None else math.inf
        if deadline == -math.inf:
            node["cancelled"] = True
        elif deadline != math.inf:
            node["deadline"] = round(deadline - self._now, 3)
        return node


def _age(task: trio.lowlevel.Task) -> tuple[int, str]:
    return getattr(task, "_counter", 0), task.name


def _count(tasks: Iterable[trio.lowlevel.Task]) -> int:
    """These, and all below them."""
    count = 0
    left = list(tasks)
    while left:
        task = left.pop()
        count += 1
        for nursery in task.child_nurseries:
            left += nursery.child_tasks
    return count


# -- frames -----------------------------------------------------------------------------------


def _outermost_first(frame: FrameType) -> Iterator[tuple[FrameType, int]]:
    frames = []
    at: FrameType | None = frame
    while at is not None:
        frames.append((at, at.f_lineno))
        at = at.f_back
    while len(frames) > 1 and frames[-1][0].f_globals.get("__name__") == "threading":
        del frames[-1]  # how threads begin
    return reversed(frames)


class _Labels:
    """Frames as texts; many tasks wait at few places."""

    def __init__(self) -> None:
        # By id: hashing a code object takes longer, and the frames keep them alive.
        self._texts: dict[tuple[int, int], tuple[str, str]] = {}

    def of(self, frames: Iterable[tuple[FrameType, int]]) -> list[str]:
        """The innermost few, of a library's only the first and the last one in a row."""
        found: list[str] = []
        last_library = ""
        is_inside = False
        for frame, line in frames:
            code = frame.f_code
            label = self._texts.get((id(code), line))
            if label is None:
                module = str(frame.f_globals.get("__name__", ""))
                label = _label(code, module, line), _library(code, module)
                self._texts[id(code), line] = label
            text, library = label
            if library and library == last_library:
                if library in _CARRIERS:
                    continue
                if is_inside:
                    found.pop()
                is_inside = True
            else:
                is_inside = False
            found.append(text)
            last_library = library
        return found[-_MAX_FRAMES:]


def _label(code: CodeType, module: str, line: int) -> str:
    """``trioserve/server.py:123 serve``: a file as its module's name has it."""
    parts = code.co_filename.split(os.sep)
    depth = module.count(".") + 1 + (parts[-1] == "__init__.py")
    path = "/".join(parts[-depth:])
    return f"{path}:{line} {code.co_qualname.replace('.<locals>', '')}"


_STANDARD_LIBRARY: Final = os.path.dirname(os.__file__) + os.sep


def _library(code: CodeType, module: str) -> str:
    """The package of a frame that is not the application's, nor ours; empty: it is."""
    package = module.partition(".")[0]
    filename = code.co_filename
    if package == "trioserve":
        return ""
    if "site-packages" in filename or filename.startswith(_STANDARD_LIBRARY):
        return package
    return package if package in _CARRIERS else ""


# -- as people read it ------------------------------------------------------------------------


def render_tasks(tree: Node) -> str:
    """The tree as lines of text; siblings that don't differ are one, with their number.

    Args:
        tree: what describe_tasks has returned, in this process or another.
    """
    lines: list[str] = []
    _render([tree], "", "", lines)
    for title, key in (("system tasks", "system"), ("threads", "threads")):
        if tree.get(key):
            lines.append(f"{title}:")
            _render_siblings(tree[key], "", lines)
    return "\n".join(lines)


def _render_siblings(nodes: list[Node], indent: str, lines: list[str]) -> None:
    groups: dict[object, list[Node]] = {}
    for node in nodes:
        groups.setdefault(_identity(node), []).append(node)
    for number, alike in enumerate(groups.values(), 1):
        is_last = number == len(groups)
        lead, rest = ("└─ ", "   ") if is_last else ("├─ ", "│  ")
        _render(alike, indent + lead, indent + rest, lines)


def _identity(node: Node) -> object:
    """What makes siblings look alike: all but their deadlines, and those of what is below."""
    return (
        node["task"],
        *node["waits_at"],
        node["cancelled"],
        node["deadline"] is None,
        *(tuple(map(_identity, nodes)) for nodes in node["nurseries"]),
    )


def _render(alike: list[Node], lead: str, indent: str, lines: list[str]) -> None:
    node = alike[0]
    nurseries = node["nurseries"]
    text = lead + _shown(node["task"])
    if len(alike) > 1:
        text += f" × {len(alike):,}"
    if node["cancelled"]:
        text += " (cancelled)"
    elif node["deadline"] is not None:
        text += f" ({_deadlines([one['deadline'] for one in alike])})"
    lines.append(text)
    if node["waits_at"]:
        stem = "│    " if any(nurseries) else "     "
        where = " › ".join(map(_shown, node["waits_at"][-_SHOWN_FRAMES:]))
        lines.append(f"{indent}{stem}{where}")
    if len(nurseries) == 1:
        _render_siblings(nurseries[0], indent, lines)
        return
    for number, nodes in enumerate(nurseries, 1):
        lead, rest = ("└─ ", "   ") if number == len(nurseries) else ("├─ ", "│  ")
        lines.append(f"{indent}{lead}nursery {number}{'' if nodes else ', empty'}")
        _render_siblings(nodes, indent + rest, lines)


def _deadlines(deadlines: list[float]) -> str:
    least, most = f"{min(deadlines):.1f}", f"{max(deadlines):.1f}"
    return f"deadline in {least} s" if least == most else f"deadline in {least} to {most} s"


def _shown(text: str) -> str:
    """A name is whatever the application made it: nothing of it reaches the terminal as control."""
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in text)
