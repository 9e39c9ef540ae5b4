# SPDX-License-Identifier: MIT
"""``trioserve-dirty``: calls an action from the shell, shows the pool, changes its size.

By argparse and a blocking client: neither Trio nor cyclopts is imported, so that a call from a
script costs little more than Python's own start.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import TYPE_CHECKING, Any, Final

from trioserve.dirty.blocking import BlockingDirtyClient
from trioserve.dirty.command_output import as_json, raw, status_text
from trioserve.dirty.errors import DirtyError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells report it

_EPILOG: Final = """\
ARG and the values of --kw are JSON; a word that is no JSON stands for itself:
  trioserve-dirty call models:Chat answer "How are you?" 3 --kw style='{"terse": true}'

exit codes: 0 done; 1 the call failed, or nobody is at the socket; 2 wrong usage
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit code.

    ====  ==========================================================================
    code  when
    ====  ==========================================================================
    0     it was done
    1     a DirtyError, which is printed; nobody is at the socket; fewer workers were
          added or removed than asked for
    2     the command line is wrong
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
        # Who reads our output has seen enough, as in `… --stream | head`. Python would say so again
        # when it flushes stdout at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK


def _run(argv: Sequence[str] | None) -> int:
    try:
        arguments = _parse(argv)
        with BlockingDirtyClient(arguments.socket) as client:
            code: int = arguments.run(client, arguments)
            return code
    except SystemExit as exc:  # argparse's, after it has said why
        return exc.code if isinstance(exc.code, int) else EXIT_USAGE
    except DirtyError as exc:
        sys.stdout.flush()  # what had come before it
        _complain(exc)
        return EXIT_FAILED


def _complain(error: DirtyError) -> None:
    # The action's own traceback first, so that the last line is the one that says it all.
    traceback = error.details.get("traceback")
    if traceback:
        print(str(traceback).rstrip(), file=sys.stderr)
    print(f"trioserve-dirty: {type(error).__name__}: {error}", file=sys.stderr)


# -- the subcommands ------------------------------------------------------------------------


def _call(client: BlockingDirtyClient, arguments: argparse.Namespace) -> int:
    encode = raw if arguments.raw else _as_json
    call = arguments.app, arguments.action, *arguments.args
    keywords = {"timeout": arguments.timeout, **dict(arguments.kw)}
    if not arguments.stream:
        _print(encode(client.execute(*call, **keywords)))
        return EXIT_OK
    with client.stream(*call, **keywords) as items:
        for item in items:
            _print(encode(item))
            sys.stdout.flush()
    return EXIT_OK


def _as_json(value: Any) -> str:
    encoding = sys.stdout.encoding or ""
    return as_json(value, ascii_only=encoding.lower().replace("-", "") != "utf8")


def _print(output: str | bytes) -> None:
    if isinstance(output, str):
        print(output)
    else:
        sys.stdout.flush()
        sys.stdout.buffer.write(output)


def _status(client: BlockingDirtyClient, arguments: argparse.Namespace) -> int:
    status = client.status()
    print(_as_json(status) if arguments.json else status_text(status))
    return EXIT_OK


def _workers(client: BlockingDirtyClient, arguments: argparse.Namespace) -> int:
    result = client.manage(arguments.operation, arguments.count)
    done = result.get("spawned" if arguments.operation == "add" else "removed", 0)
    if arguments.json:
        print(_as_json(result))
    else:
        verb = "added" if arguments.operation == "add" else "removed"
        total = result.get("target_workers", result.get("total_workers"))
        print(f"{done} {'worker' if done == 1 else 'workers'} {verb}; there are {total} now")
    if done >= arguments.count:
        return EXIT_OK
    reason = result.get("reason") or "the arbiter says no reason"
    print(f"trioserve-dirty: {arguments.count} asked for: {reason}", file=sys.stderr)
    return EXIT_FAILED


# -- the command line -----------------------------------------------------------------------


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = _parser()
    arguments, rest = parser.parse_known_args(argv)
    if rest:
        # argparse takes the ARGs up to the first option, and calls those after it unknown.
        if "args" not in arguments or any(map(_is_option, rest)):
            parser.error(f"unrecognized arguments: {' '.join(rest)}")
        try:
            arguments.args = [*arguments.args, *map(_value, rest)]
        except argparse.ArgumentTypeError as exc:
            parser.error(f"argument ARG: {exc}")
    arguments.socket = getattr(arguments, "socket", "") or os.environ.get("TRIOSERVE_DIRTY_SOCKET")
    if not arguments.socket:
        parser.error("which arbiter? Give --socket PATH, or set TRIOSERVE_DIRTY_SOCKET")
    return arguments


def _is_option(word: str) -> bool:
    return word.startswith("-") and not word[1:2].isdigit()


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--socket",
        metavar="PATH",
        default=argparse.SUPPRESS,
        help="the arbiter's socket [default: $TRIOSERVE_DIRTY_SOCKET]",
    )
    parser = argparse.ArgumentParser(
        prog="trioserve-dirty",
        description="Call actions of dirty apps, and look after their workers.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        parents=[common],
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version, and stop")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    call = commands.add_parser(
        "call",
        help="call an action and print its result as JSON",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        parents=[common],
    )
    call.add_argument("app", metavar="APP", help="as configured: module:Class")
    call.add_argument("action", metavar="ACTION", help="a method of that class")
    call.add_argument(
        "args", metavar="ARG", nargs="*", type=_value, default=[], help="its arguments"
    )
    call.add_argument(
        "--kw",
        metavar="NAME=JSON",
        action="append",
        default=[],
        type=_keyword,
        help="a keyword argument; may be repeated",
    )
    call.add_argument(
        "--stream",
        action="store_true",
        help="print the items of a generator as they come, a line each",
    )
    call.add_argument(
        "--raw", action="store_true", help="print a str or bytes as it is, without JSON"
    )
    call.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=_seconds,
        default=0.0,
        help="for all of it [default: none but the server's]",
    )
    call.set_defaults(run=_call)

    status = commands.add_parser(
        "status", help="show workers and apps", allow_abbrev=False, parents=[common]
    )
    status.add_argument("--json", action="store_true", help="all that there is, as JSON")
    status.set_defaults(run=_status)

    workers = commands.add_parser(
        "workers", help="change how many workers there are", allow_abbrev=False, parents=[common]
    )
    workers.add_argument("operation", choices=("add", "remove"))
    workers.add_argument(
        "count", metavar="N", nargs="?", type=_count, default=1, help="[default: 1]"
    )
    workers.add_argument("--json", action="store_true", help="the arbiter's answer, as JSON")
    workers.set_defaults(run=_workers)
    return parser


class _Version(argparse.Action):
    """As argparse's own, but looks the version up only when it is asked for: that takes time."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import PackageNotFoundError, version

        try:
            print(f"trioserve {version('trioserve')}")
        except PackageNotFoundError:
            print("trioserve (not installed: it runs from its source tree)")
        parser.exit()


# -- values: what raises argparse's error is a wrong usage -------------------------------------

#: How JSON begins that is no plain word.
_OPENINGS: Final = ("{", "[", '"')


def _value(text: str) -> Any:
    """JSON, or the text itself, unless it begins as JSON does."""
    try:
        return json.loads(text)
    except ValueError as exc:
        if text.lstrip().startswith(_OPENINGS):
            raise argparse.ArgumentTypeError(f"{text!r} is no JSON: {exc}") from None
        return text
    except RecursionError:
        raise argparse.ArgumentTypeError("this JSON is nested too deeply") from None


def _keyword(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise argparse.ArgumentTypeError(f"{text!r}: expected NAME=JSON, as in --kw count=3")
    if name in ("app_path", "action", "timeout"):
        raise argparse.ArgumentTypeError(f"{name!r} can only be given by its place, as an ARG")
    return name, _value(value)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not seconds >= 0:
        raise argparse.ArgumentTypeError(f"{text!r}: expected seconds, 0 (none) or more")
    return seconds


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number, 1 or more")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
