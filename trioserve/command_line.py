# SPDX-License-Identifier: MIT
"""The parsing of argv, and the help: the one module that knows cyclopts.

cyclopts parses the options and prints the help, both from the settings' metadata. But for
switches it is told that every value is a text: values are read in one place for all sources
(trioserve.config), so that each source takes the same and refuses it in the same words. For the
same reason the environment and the TOML file are not left to cyclopts: it would neither refuse an
unknown variable nor tell ``--print-config`` where a value came from.

cyclopts costs a start some 55 ms: 40 to import, 15 to make a parser of these options (argparse:
10). rich, by which it prints the help, it imports only for that.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Annotated, Any

import attrs
import cyclopts

from trioserve.config.settings import Setting, all_settings
from trioserve.config.sources import Given, Layer
from trioserve.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["CommandLine", "parse"]


@attrs.frozen(kw_only=True)
class CommandLine:
    """What a command line asks for.

    Attributes:
        settings: The layer of settings it gives.
        config: The TOML file it names.
        print_config: Whether to print the effective settings instead of serving.
        check_config: Whether to check settings and application instead of serving.
    """

    settings: Layer
    config: str | None
    print_config: bool
    check_config: bool


def parse(argv: Sequence[str]) -> CommandLine | None:
    """Parse arguments. None if they ask for the help or the version, which is then printed.

    Raises:
        ConfigError: An option is unknown, lacks its value, or a switch has a wrong one. Other
            values are checked with those of the other sources, by ``sources.resolve``.
    """
    parser = _parser()
    try:
        command, bound, _ = parser.parse_args(list(argv))
    except cyclopts.CycloptsError as exc:
        raise _as_config_error(exc) from exc
    if command is not parser.default_command:
        command(*bound.args, **bound.kwargs)
        return None
    return _as_command_line(bound.arguments)


def _as_command_line(given: Mapping[str, Any]) -> CommandLine:
    return CommandLine(
        settings={
            name: _given(setting, given[name])
            for name, setting in all_settings().items()
            if name in given
        },
        config=given.get("config"),
        print_config=given.get("print_config", False),
        check_config=given.get("check_config", False),
    )


def _given(setting: Setting, parsed: Any) -> Given:
    origin = "the command line" if setting.name == "app" else setting.option
    return Given(setting.from_text(parsed) if isinstance(parsed, str) else parsed, origin)


def _as_config_error(error: cyclopts.CycloptsError) -> ConfigError:
    if isinstance(error, cyclopts.UnusedCliTokensError):
        extra = " ".join(error.unused_tokens or ())
        return ConfigError(f"expected one application (module:attr), got more: {extra}")
    if isinstance(error, cyclopts.CoercionError) and error.token and error.token.keyword:
        # Only a switch with a value gets here: everything else is a text.
        option = error.token.keyword
        name = option.removeprefix("--").removeprefix("no-").replace("-", "_")
        return ConfigError(f"{name} {error.token.value!r}: expected true or false (from {option})")
    return ConfigError(f"{error} Try trioserve --help.")


_EPILOGUE = (
    "Every option is also a variable (TRIOSERVE_KEEP_ALIVE_TIMEOUT=2, lists comma-separated) "
    "and a TOML key (keep_alive_timeout = 2). What wins: defaults < TOML < environment < "
    "command line."
)


def _parser() -> cyclopts.App:
    def command(*_args: Any, **_options: Any) -> None:
        """Never called: its signature is what cyclopts parses by."""

    titles = dict.fromkeys(setting.group for setting in all_settings().values())
    panels = {title: cyclopts.Group(title, sort_key=place) for place, title in enumerate(titles)}
    own_panel = cyclopts.Group("Command", sort_key=len(panels))
    parameters = [_parameter(setting, panels[setting.group]) for setting in all_settings().values()]
    command.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        parameters + _own_parameters(own_panel)
    )
    parser = cyclopts.App(
        name="trioserve",
        usage="Usage: trioserve module:attr [OPTIONS]",
        help="Serve an ASGI application on Trio.",
        help_epilogue=_EPILOGUE,
        help_format="plaintext",
        help_formatter=_print_panel,
        version=_version,
        group_commands=own_panel,
        default_command=command,
        exit_on_error=False,
        print_error=False,
    )
    parser["--help"].help = "Print this help, and stop"
    parser["--version"].help = "Print the version, and stop"
    return parser


def _parameter(setting: Setting, panel: cyclopts.Group) -> inspect.Parameter:
    positional = setting.name == "app"
    hint = _hint(setting)
    shown = _default_shown(setting)
    choices = ", ".join(setting.kind.choices)
    option = cyclopts.Parameter(
        name=None if positional else setting.option,
        group=panel,
        help=setting.help + (f" [choices: {choices}]" if choices else ""),
        metavar=None if hint is bool else setting.unit.upper().replace(" ", "-"),
        show_default=(lambda _default: shown) if shown else False,
        negative=() if setting.kind.is_list else None,
        json_list=False,  # [::1]:80 is an address
        allow_repeating=True,  # the last one counts, so that a script can overrule; a list grows
    )
    kind = inspect.Parameter.POSITIONAL_ONLY if positional else inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(setting.name, kind, default=hint(), annotation=Annotated[hint, option])


def _hint(setting: Setting) -> Any:
    """Return the type that makes cyclopts parse a switch, several words or one.

    A default, though never used, is of that type: where pydantic happens to be imported, cyclopts
    has it check them all.
    """
    if isinstance(setting.default, bool):
        return bool
    return list[str] if setting.kind.is_list else str


def _default_shown(setting: Setting) -> str:
    if isinstance(setting.default, str):
        return setting.default  # without TOML's quotes
    if setting.kind.is_list:
        return ",".join(setting.default)
    return setting.default_text().strip('"')


def _own_parameters(panel: cyclopts.Group) -> list[inspect.Parameter]:
    def parameter(name: str, hint: Any, help: str, metavar: str | None = None) -> inspect.Parameter:
        option = cyclopts.Parameter(
            group=panel, help=help, metavar=metavar, negative=(), show_default=False
        )
        return inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=hint(),
            annotation=Annotated[hint, option],
        )

    where = "trioserve.toml, else [tool.trioserve] in pyproject.toml"
    return [
        parameter("config", str, f"Take settings from this TOML file [default: {where}]", "FILE"),
        parameter("print_config", bool, "Print the effective settings as TOML, and stop"),
        parameter(
            "check_config",
            bool,
            "Check settings and certificates, import the application and hooks, and stop",
        ),
    ]


def _print_panel(console: Any, options: Any, panel: Any) -> None:
    """Print one panel of the help with room for the longest option in one piece."""
    from cyclopts.help import ColumnSpec, DefaultFormatter, DescriptionRenderer, NameRenderer

    width = max(len(setting.option) for setting in all_settings().values())
    names = ColumnSpec(NameRenderer(max_width=width), style="cyclopts.name", width=width)
    texts = ColumnSpec(DescriptionRenderer(), overflow="fold")
    DefaultFormatter(column_specs=(names, texts))(console, options, panel)


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return f"trioserve {version('trioserve')}"
    except PackageNotFoundError:
        return "trioserve (not installed: it runs from its source tree)"
