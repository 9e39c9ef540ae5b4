# SPDX-License-Identifier: MIT
"""The kinds of value a setting can have: how each is written, converted and checked.

One rule makes the four sources agree. Converters and text readers are lenient: what they can't
turn into the kind's type they hand on as it came. The check is strict, there is one a kind, and
it sits on the class as the attrs validator. So a wrong value meets the same words whether it
came from Python, TOML, the environment or the command line.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from importlib.util import find_spec
from typing import Any

import attrs

from trioserve.access_format import check_access_log_format
from trioserve.addresses import parse_bind
from trioserve.errors import ConfigError
from trioserve.import_strings import split_import_string

__all__ = [
    "ACCESS_LOG_FORMAT",
    "ADDRESSES",
    "APP_SPEC",
    "AT_LEAST_ONE",
    "BYTES",
    "COUNT",
    "DIRECTORY",
    "HOOK",
    "HTTP_PARSER",
    "MODE",
    "OPTIONAL_COUNT",
    "ROOT_PATH",
    "SECONDS",
    "SIZE_LIMIT",
    "SWITCH",
    "TEXT",
    "Kind",
    "are_texts",
    "as_mode",
    "as_path_text",
    "as_texts",
    "choice",
    "int_from_text",
    "is_hook",
    "is_int",
    "texts_from_text",
]


def _unchanged(value: Any) -> Any:
    return value


def _toml(value: Any) -> str:
    # A JSON scalar or array of strings is a TOML one too, but for DEL, which TOML wants escaped.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


@attrs.frozen(kw_only=True)
class Kind:
    """One kind of value; called with (instance, attribute, value) it is an attrs validator.

    Attributes:
        unit: Its unit or type in a word or two, for the help and the reference.
        expected: What a right value is, for the error: "expected …".
        accepts: The check of a converted value. It may raise ConfigError to say more.
        convert: From a Python or TOML value. Returns what it can't convert as it came.
        from_text: From the text of a variable or an option, likewise.
        to_toml: The TOML text that ``convert`` reads back.
        choices: All values, if they can be listed.
        is_list: Several values; repeated on the command line, comma-separated in a variable.
        is_secret: Never shown: not in an error, not by --print-config.
    """

    unit: str
    expected: str
    accepts: Callable[[Any], bool]
    convert: Callable[[Any], Any] = _unchanged
    from_text: Callable[[str], Any] = _unchanged
    to_toml: Callable[[Any], str] = _toml
    choices: tuple[str, ...] = ()
    is_list: bool = False
    is_secret: bool = False

    def check(self, name: str, value: Any) -> Any:
        """Return the value converted.

        Raises:
            ConfigError: It is not of this kind. Names the setting, the value, what is expected.
        """
        converted = self.convert(value)
        if not self.accepts(converted):
            shown = "(not shown)" if self.is_secret else repr(converted)
            raise ConfigError(f"{name} {shown}: expected {self.expected}")
        return converted

    def __call__(self, _instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        self.check(attribute.name, value)


def is_int(value: Any, least: int, most: int = 2**63 - 1) -> bool:
    """Whether it is a whole number within these bounds, and no bool."""
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _as_float(value: Any) -> Any:
    # Within what a float holds exactly: beyond it float() may even raise.
    return float(value) if is_int(value, 0, 2**53) else value


def int_from_text(text: str) -> Any:
    """Lenient: a number, if it is one."""
    try:
        return int(text)
    except ValueError:
        return text


def _number_from_text(text: str) -> Any:
    # A whole number stays one, as in TOML and Python, so that an error shows it as it was written.
    for read in (int, float):
        with suppress(ValueError):
            return read(text)
    return text


def _seconds_to_toml(value: float) -> str:
    # 60 reads better than 60.0, and reads back as the same.
    return str(int(value)) if value.is_integer() and value < 2**53 else repr(value)


SECONDS = Kind(
    unit="seconds",
    expected="seconds, a number of 0 or more",
    accepts=lambda value: isinstance(value, float) and 0 <= value < math.inf,
    convert=_as_float,
    from_text=_number_from_text,
    to_toml=_seconds_to_toml,
)
COUNT = Kind(
    unit="count",
    expected="a whole number of 0 or more",
    accepts=lambda value: is_int(value, 0),
    from_text=int_from_text,
)
OPTIONAL_COUNT = Kind(
    unit="count",
    expected="a whole number of 0 or more",
    accepts=lambda value: value is None or is_int(value, 0),
    from_text=int_from_text,
)
AT_LEAST_ONE = Kind(
    unit="count",
    expected="a whole number, 1 to 2147483647",
    accepts=lambda value: is_int(value, 1, 2**31 - 1),  # listen() takes a C int
    from_text=int_from_text,
)
BYTES = Kind(
    unit="bytes",
    expected="bytes, a whole number of 0 or more",
    accepts=lambda value: is_int(value, 0),
    from_text=int_from_text,
)
# No unbounded buffer (RFC 9112 section 3 asks for at least 8000 octets of request line to be
# taken, but recommends, not requires): a limit can be small or large, never off.
SIZE_LIMIT = Kind(
    unit="bytes",
    expected="bytes, a whole number of 1 or more (this limit can't be turned off)",
    accepts=lambda value: is_int(value, 1),
    from_text=int_from_text,
)

# The words that cyclopts takes in --flag=word, so that a variable takes the same.
_SWITCH_WORDS = {
    **dict.fromkeys(("true", "t", "yes", "y", "1"), True),
    **dict.fromkeys(("false", "f", "no", "n", "0"), False),
}
SWITCH = Kind(
    unit="true or false",
    expected="true or false",
    accepts=lambda value: isinstance(value, bool),
    from_text=lambda text: _SWITCH_WORDS.get(text.lower(), text),
)
TEXT = Kind(
    unit="text",
    expected="a text that is not empty",
    accepts=lambda value: isinstance(value, str) and value != "",
)
APP_SPEC = Kind(
    unit="module:attr",
    expected='"module:attr" as text',
    accepts=lambda value: value is None or (isinstance(value, str) and value != ""),
)


def is_hook(value: Any) -> bool:
    """Whether it is a callable, the text of where one is imported from, or None."""
    if isinstance(value, str):
        return split_import_string(value) is not None
    return value is None or callable(value)


HOOK = Kind(
    unit="module:attr",
    expected='"module:attr" as text, or a callable in Python',
    accepts=is_hook,
)


def as_path_text(value: str | os.PathLike[str] | None) -> Any:
    """Lenient: a path object as text."""
    return os.fspath(value) if isinstance(value, os.PathLike) else value


DIRECTORY = Kind(
    unit="directory",
    expected="the path of a directory",
    accepts=lambda value: isinstance(value, str) and value != "",
    convert=as_path_text,
)
ROOT_PATH = Kind(
    unit="path",
    expected='a URL path that begins with "/", or an empty text',
    accepts=lambda value: isinstance(value, str) and (value == "" or value.startswith("/")),
    convert=lambda value: value.rstrip("/") if isinstance(value, str) else value,
)


def choice(*values: str) -> Kind:
    """Return the kind whose values are these texts."""
    return Kind(
        unit="choice",
        expected="one of " + ", ".join(f'"{value}"' for value in values),
        accepts=lambda value: isinstance(value, str) and value in values,
        choices=values,
    )


def _is_usable_parser(value: Any) -> bool:
    if value == "httptools" and find_spec("httptools") is None:
        raise ConfigError(
            "http 'httptools': httptools is not installed here; install it "
            '(pip install httptools), or use "auto" or "h11"'
        )
    return _PARSER_NAME.accepts(value)


_PARSER_NAME = choice("auto", "httptools", "h11")
HTTP_PARSER = attrs.evolve(_PARSER_NAME, accepts=_is_usable_parser)


def _is_access_log_format(value: Any) -> bool:
    if not isinstance(value, str) or not value:
        return False
    check_access_log_format(value)  # its ConfigError names the atom
    return True


ACCESS_LOG_FORMAT = Kind(
    unit="text",
    expected="a text that is not empty",
    accepts=_is_access_log_format,
)


def as_mode(value: int | str) -> Any:
    """Lenient: octal text (``0660``, ``0o660``) as a number."""
    if not isinstance(value, str):
        return value
    with suppress(ValueError):
        mode = int(value, 8)
        if 0 <= mode <= 0o777:
            return mode
    return value


MODE = Kind(
    unit="octal mode",
    expected="the permission bits as octal text, 0000 to 0777, as in 0660",
    accepts=lambda value: is_int(value, 0, 0o777),
    convert=as_mode,
    to_toml=lambda value: f'"{value:04o}"',
)


def as_texts(value: str | Iterable[str]) -> Any:
    """Lenient: one text, or any iterable of texts, as a tuple."""
    given: Any = value
    if isinstance(given, str):
        return (given,)
    # A mapping is an iterable of its keys, and never meant here.
    if isinstance(given, Iterable) and not isinstance(given, (bytes, dict)):
        return tuple(given)
    return given


def are_texts(value: Any) -> bool:
    """Whether it is what ``as_texts`` makes of texts."""
    return isinstance(value, tuple) and all(isinstance(text, str) for text in value)


def _are_addresses(value: Any) -> bool:
    if not are_texts(value) or not value:
        return False
    for text in value:
        parse_bind(text)  # its ConfigError says which part of the address is wrong
    return True


def texts_from_text(text: str) -> Any:
    """The texts of a comma-separated list."""
    return tuple(part.strip() for part in text.split(","))


ADDRESSES = Kind(
    unit="address",
    expected="one address or more, each host:port, unix:path or fd://N",
    accepts=_are_addresses,
    convert=as_texts,
    from_text=texts_from_text,
    is_list=True,
)
