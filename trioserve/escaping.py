# SPDX-License-Identifier: MIT
"""Text of strangers, made safe to be shown in a log or on a terminal.

Rule of this file: what comes out is printable (``str.isprintable``), and can't end the place it
was put in: a quoted field (`escape`), a line, a record (`tame`).
"""

from __future__ import annotations

__all__ = ["escape", "printable", "tame"]


def escape(text: str) -> str:
    r"""One printable line of ``text``, without a bare quote or backslash, as Apache has it.

    ===============================================  ==================
    ``"`` and ``\``                                   ``\"`` and ``\\``
    ASCII controls; bytes that were no UTF-8          ``\xhh``
    (surrogates of ``surrogateescape``)
    other characters that don't print: C1 controls,   ``\uhhhh``,
    bidi overrides, line separators …                 ``\Uhhhhhhhh``
    ===============================================  ==================

    Args:
        text: any string, lone surrogates included.
    """
    if text.isprintable() and '"' not in text and "\\" not in text:
        return text
    return "".join([_escape_char(char) for char in text])


def tame(text: str) -> str:
    r"""Lines of which only the first may begin with ``[``, without control characters.

    For prose and tracebacks: quotes, backslashes and tabs stay as they are. Later lines that
    begin with ``[`` are indented by two blanks.
    """
    if text.isprintable():
        return text
    first, *rest = text.split("\n")
    lines = [first, *[f"  {line}" if line.startswith("[") else line for line in rest]]
    return "\n".join([printable(line) for line in lines])


def printable(line: str) -> str:
    """A line of prose or of a program: quotes, backslashes and tabs stay as they are."""
    if line.isprintable():
        return line
    return "".join([char if char in '"\\\t' else _escape_char(char) for char in line])


def _escape_char(char: str) -> str:
    if char in '"\\':
        return "\\" + char
    if char.isprintable():
        return char
    code = ord(char)
    if code < 0x80:
        return f"\\x{code:02x}"
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
