# SPDX-License-Identifier: MIT
"""``trioservectl``: looks into a running server, and tells it what to do.

By argparse and a blocking client, as ``trioserve-dirty``: Trio and rich are imported only by the
subcommands that need them.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import TYPE_CHECKING, Final

from trioserve.control.client import ControlClient, NoServerError, RefusedError
from trioserve.control.messages import LEVELS
from trioserve.control.output import done_text, printable, status_text
from trioserve.control.paths import find_sockets

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]

EXIT_OK = 0
EXIT_REFUSED = 1
EXIT_USAGE = 2
EXIT_NO_SERVER = 3
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells report it

_EPILOG: Final = """\
Without --socket, --pid and TRIOSERVE_CONTROL_SOCKET it is the server of this user that runs.

exit codes: 0 done; 1 the server refuses; 2 wrong usage; 3 no server is there
"""


class _UsageError(Exception):
    """It can't be done as the command line says."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit code.

    ====  ==========================================================================
    code  when
    ====  ==========================================================================
    0     it was done
    1     the server says that it can't be done, and why
    2     the command line is wrong, or fits several servers
    3     no server is there, or it has gone
    130   interrupted
    ====  ==========================================================================

    Args:
        argv: the arguments without the program's name; ``sys.argv[1:]`` if None.
    """
    try:
        try:
            return _run(argv)
        finally:
            sys.stdout.flush()
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # Who reads our output has seen enough, as in `… | head`. Python would say so again when it
        # flushes stdout at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK


def _run(argv: Sequence[str] | None) -> int:
    # A name may have letters that the terminal has not.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        arguments = _parser().parse_args(argv)
        code: int = arguments.run(arguments)
        return code
    except SystemExit as exc:  # argparse's, after it has said why
        return exc.code if isinstance(exc.code, int) else EXIT_USAGE
    except (_UsageError, RefusedError, NoServerError) as exc:
        sys.stdout.flush()
        print(f"trioservectl: {printable(str(exc))}", file=sys.stderr)
        return _CODES[type(exc)]


_CODES: Final = {
    _UsageError: EXIT_USAGE,
    RefusedError: EXIT_REFUSED,
    NoServerError: EXIT_NO_SERVER,
}


# -- which server -----------------------------------------------------------------------------


def find_server(arguments: argparse.Namespace) -> str:
    """The path of the socket that is meant.

    Raises:
        NoServerError: none runs, or none with this process id.
        _UsageError: several do.
    """
    socket, pid = getattr(arguments, "socket", None), getattr(arguments, "server_pid", None)
    from_environment = os.environ.get("TRIOSERVE_CONTROL_SOCKET")
    if socket is None and pid is None and from_environment not in (None, "", "auto", "off"):
        socket = from_environment
    if socket is not None:
        return str(socket)
    found = find_sockets()
    if pid is not None:
        paths = [path for one, path in found if one == pid]
        if not paths:
            raise NoServerError(
                f"no server of this user with the process id {pid} has a control socket; "
                f"{_those(found)}"
            )
        return paths[0]
    if not found:
        raise NoServerError(
            "no server of this user has a control socket; if it was told to have it elsewhere, "
            "give --socket PATH"
        )
    if len(found) > 1:
        raise _UsageError(f"which server? Give --pid or --socket; {_those(found)}")
    return found[0][1]


def _those(found: Sequence[tuple[int, str]]) -> str:
    if not found:
        return "none has one"
    return "there are:\n" + "\n".join(f"  --pid {pid}  ({path})" for pid, path in found)


# -- the subcommands ------------------------------------------------------------------------


def _status(arguments: argparse.Namespace) -> int:
    with ControlClient(find_server(arguments)) as client:
        status = client.ask("status")
    print(json.dumps(status) if arguments.json else status_text(status))
    return EXIT_OK


def _tasks(arguments: argparse.Namespace) -> int:
    with ControlClient(find_server(arguments)) as client:
        processes = client.ask("tasks")
    if arguments.json:
        print(json.dumps(processes))
        return EXIT_OK
    from trioserve.task_tree import render_tasks

    blocks = []
    for process in processes:
        tree = process["tree"]
        text = f"({process['error']})" if tree is None else render_tasks(tree)
        blocks.append(f"{process['name']}, process {process['pid']}\n{text}")
    print(printable("\n\n".join(blocks)))
    return EXIT_OK


def _do(arguments: argparse.Namespace) -> int:
    """Asks for one thing; ``arguments.asked`` is which, ``arguments.given`` what it takes."""
    given = {name: getattr(arguments, name) for name in arguments.given}
    with ControlClient(find_server(arguments)) as client:
        try:
            # However long it takes: Ctrl+C leaves the server to it.
            result = client.ask(arguments.asked, timeout=None, **given)
        except NoServerError:
            if arguments.asked != "shutdown":
                raise
            result = {}  # it was quicker than its answer
    if arguments.json:
        print(json.dumps(result))
    if not result.get("success", True):  # the dirty pool's words, when it could do nothing of it
        raise RefusedError(result.get("reason") or "nothing was done")
    if not arguments.json:
        print(done_text(arguments.asked, result))
    return EXIT_OK


def _top(arguments: argparse.Namespace) -> int:
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise _UsageError("top needs a terminal; use `trioservectl status` in scripts")
    path = find_server(arguments)
    from trioserve.control.top import run_top

    def find_again() -> str:
        """A server that was started anew is another process, and may have another path."""
        try:
            return path if os.path.exists(path) else find_server(arguments)
        except _UsageError as exc:
            raise NoServerError(str(exc)) from exc

    run_top(find_again)
    return EXIT_OK


# -- the command line -----------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    which = common.add_mutually_exclusive_group()
    which.add_argument(
        "--socket",
        metavar="PATH",
        default=argparse.SUPPRESS,
        help="the server's control socket [default: $TRIOSERVE_CONTROL_SOCKET]",
    )
    which.add_argument(
        "--pid",
        metavar="PID",
        dest="server_pid",  # `workers kill` has another one
        type=_number,
        default=argparse.SUPPRESS,
        help="the server's process id, where several run",
    )
    parser = argparse.ArgumentParser(
        prog="trioservectl",
        description="Look into a running trioserve, and tell it what to do.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        parents=[common],
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def add(
        to: argparse._SubParsersAction[argparse.ArgumentParser], name: str, help: str
    ) -> argparse.ArgumentParser:
        command = to.add_parser(name, help=help, allow_abbrev=False, parents=[common])
        command.add_argument("--json", action="store_true", help="the server's answer, as JSON")
        return command

    add(commands, "status", "show the server, its workers and its dirty pool").set_defaults(
        run=_status
    )
    add(commands, "tasks", "show the tasks of every process, and where they wait").set_defaults(
        run=_tasks
    )
    top = commands.add_parser(
        "top", help="watch the server live", allow_abbrev=False, parents=[common]
    )
    top.set_defaults(run=_top)

    for group, what, asked in (
        ("workers", "HTTP workers", "workers"),
        ("dirty", "dirty workers", "dirty"),
    ):
        changes = commands.add_parser(
            group, help=f"add or remove {what}", allow_abbrev=False, parents=[common]
        ).add_subparsers(required=True, metavar="add|remove|kill" if group == "workers" else None)
        for verb in ("add", "remove"):
            change = add(changes, verb, f"{verb} N {what}")
            change.add_argument(
                "count", metavar="N", nargs="?", type=_number, default=1, help="[default: 1]"
            )
            change.set_defaults(run=_do, asked=f"{verb}_{asked}", given=("count",))
        if group == "workers":
            kill = add(changes, "kill", "end a worker at once; another takes its place")
            kill.add_argument("pid", metavar="PID", type=_number, help="of the worker")
            kill.set_defaults(run=_do, asked="kill_worker", given=("pid",))

    reload = add(commands, "reload", "replace all workers by ones with new code")
    reload.set_defaults(run=_do, asked="reload", given=())
    level = add(commands, "log-level", "change the least severe level that is logged")
    level.add_argument("level", choices=LEVELS)
    level.set_defaults(run=_do, asked="set_log_level", given=("level",))
    shutdown = add(commands, "shutdown", "stop the server; requests under way may finish")
    shutdown.add_argument("--now", action="store_true", help="cancel what is under way")
    shutdown.set_defaults(run=_do, asked="shutdown", given=("now",))
    return parser


def _number(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 1 << 31:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number, 1 or more")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
