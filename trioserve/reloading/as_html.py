# SPDX-License-Identifier: MIT
"""A report as one HTML page that needs nothing else: no other file, no other host.

Rule of this file: what is not markup written here goes through ``_escaped``, and nothing else
makes text of a page. The page's script and style are constants, which its policy
(Content-Security-Policy) allows by their hashes alone, so that markup that got in all the same
would neither run nor load anything.
"""

from __future__ import annotations

import base64
import hashlib
import html
import os
from typing import TYPE_CHECKING, Final

from trioserve.escaping import printable
from trioserve.reloading.as_text import chain_left_out
from trioserve.reloading.page_parts import SCRIPT, STYLE
from trioserve.reloading.report import Frame

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from trioserve.reloading.excerpts import Line
    from trioserve.reloading.report import LeftOut, Report, Syntax

__all__ = ["POLICY", "as_html"]

_LINKS: Final = {
    "cause": "The direct cause of it was",
    "context": "It was raised while this was being handled",
}


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


#: The value of the Content-Security-Policy field that goes with each page.
POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        f"script-src 'sha256-{_hash(SCRIPT)}'",
        f"style-src 'sha256-{_hash(STYLE)}'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
    )
)


def as_html(report: Report, plain: str, note: str, ident: str, *, heals: bool) -> str:
    """The page.

    Args:
        plain: the report as text, to be copied.
        note: what was being done when it was raised; may be empty.
        ident: which error this is; the script looks for it in the answers of the server.
        heals: with the script, which loads the page again once the error is another, or gone.
    """
    title = report.kind + (f": {report.message}" if report.message else "")
    hint = (
        "Mend it and save the file: this page comes back by itself."
        if heals
        else "Mend it, save the file, and send the request again."
    )
    return "".join(
        (
            f'<!doctype html>\n<html lang="en" data-error="{_escaped(ident)}">\n<head>\n',
            '<meta charset="utf-8">\n',
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n',
            '<meta name="color-scheme" content="light dark">\n',
            f"<title>{_escaped(title.partition(chr(10))[0][:200])}</title>\n",
            f"<style>{STYLE}</style>\n</head>\n<body>\n<header>\n",
            f'<p class="note">{_escaped(note)}</p>\n' if note else "",
            *_headline(report, "h1"),
            f'<p class="hint">{hint}</p>\n</header>\n<main>\n',
            *_body(report),
            '<details class="plain"><summary>As plain text</summary>\n',
            f"<pre>{_escaped(plain)}</pre></details>\n</main>\n",
            "<footer>trioserve shows this page because of <code>--reload</code>. "
            "Without it, nothing of an exception reaches a client.</footer>\n",
            f"<script>{SCRIPT}</script>\n" if heals else "",
            "</body>\n</html>\n",
        )
    )


def _escaped(text: str) -> str:
    # What doesn't print could hide or turn what is around it (NUL, bidi overrides).
    return html.escape("\n".join(printable(line) for line in text.split("\n")))


def _headline(report: Report, tag: str) -> Iterator[str]:
    yield f'<{tag}><span class="kind">{_escaped(report.kind)}</span></{tag}>\n'
    if report.message:
        yield f'<p class="message">{_escaped(report.message)}</p>\n'
    for note in report.notes:
        yield f'<p class="added">{_escaped(note)}</p>\n'


def _body(report: Report) -> Iterator[str]:
    """All but the headline: where it was raised, its parts, and what came before it."""
    if report.syntax is not None:
        yield from _place(report.syntax)
    if report.frames:
        yield '<p class="order">Traceback, most recent call last</p>\n'
        yield from _frames(report.frames)
    yield from _parts(report)
    if report.earlier is not None:
        yield f'<section class="earlier">\n<p class="link">{_LINKS[report.link]}</p>\n'
        yield from _headline(report.earlier, "h2")
        yield from _body(report.earlier)
        yield "</section>\n"
    elif report.chain_left_out:
        yield f'<p class="more">{_escaped(chain_left_out(report))}</p>\n'


def _parts(report: Report) -> Iterator[str]:
    total = len(report.parts) + report.parts_left_out
    for number, part in enumerate(report.parts, 1):
        yield f'<section class="part">\n<p class="link">{number} of {total:,}</p>\n'
        yield from _headline(part, "h2")
        yield from _body(part)
        yield "</section>\n"
    if report.parts_left_out:
        yield f'<p class="more">… and {report.parts_left_out:,} more exceptions</p>\n'


def _frames(frames: Sequence[Frame | LeftOut]) -> Iterator[str]:
    shown = [frame for frame in frames if isinstance(frame, Frame)]
    own = [frame for frame in shown if not frame.is_library]
    # The application's own code is what can be mended; where there is none, the last call.
    unfolded = own or shown[-1:]
    for frame in frames:
        if isinstance(frame, Frame):
            yield from _frame(frame, is_open=frame in unfolded)
        else:
            yield f'<p class="more">… {frame.count:,} more calls are left out here</p>\n'


def _frame(frame: Frame, *, is_open: bool) -> Iterator[str]:
    kind = "frame library" if frame.is_library else "frame"
    place = f"{_file(frame.filename, frame.line)} in <code>{_escaped(frame.name)}</code>"
    if not frame.source:
        yield f'<p class="{kind} bare">{place}</p>\n'
    else:
        yield f'<details class="{kind}"{" open" if is_open else ""}><summary>{place}</summary>\n'
        yield f"{_source(frame.source)}</details>\n"
    if frame.repeated:
        yield f'<p class="more">… repeated {frame.repeated:,} more times</p>\n'


def _place(syntax: Syntax) -> Iterator[str]:
    place = _file(syntax.filename, syntax.line)
    if not syntax.source:
        yield f'<p class="frame bare">{place}</p>\n'
        return
    yield f'<details class="frame" open><summary>{place}</summary>\n'
    yield f"{_source(syntax.source)}</details>\n"


def _file(filename: str, line: int) -> str:
    here = os.getcwd() + os.sep
    shown = filename.removeprefix(here)
    return (
        f'<span class="file" title="{_escaped(filename)}">{_escaped(shown)}</span>'
        f'<span class="line">:{line}</span>'
    )


def _source(lines: tuple[Line, ...]) -> str:
    width = len(str(lines[-1].number))
    rows = (
        f'<span class="row{" marked" if line.is_marked else ""}">'
        f'<span class="number">{line.number:>{width}}</span>{_text(line)}\n</span>'
        for line in lines
    )
    # The block scrolls as one; by keyboard it can be reached, too.
    return f'<pre class="source" tabindex="0"><code>{"".join(rows)}</code></pre>'


def _text(line: Line) -> str:
    if line.columns is None:
        return _escaped(line.text)
    start, stop = line.columns
    before, meant, after = line.text[:start], line.text[start:stop], line.text[stop:]
    return f"{_escaped(before)}<mark>{_escaped(meant)}</mark>{_escaped(after)}"
