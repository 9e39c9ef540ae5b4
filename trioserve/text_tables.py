# SPDX-License-Identifier: MIT
"""What the commands print for people: tables of text, times and sizes with their units. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["counted", "shown", "size_text", "table", "time_text"]


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns as wide as they need; text to the left, numbers to the right."""
    lines = [list(titles), *map(list, rows)]
    columns = []
    for cells in zip(*lines, strict=True):
        width = max(map(len, cells))
        is_number = any(cell[0].isdigit() for cell in cells[1:])
        columns.append([cell.rjust(width) if is_number else cell.ljust(width) for cell in cells])
    return "\n".join("  ".join(cells).rstrip() for cells in zip(*columns, strict=True))


def shown(value: Any) -> str:
    """A value that may be missing."""
    return "-" if value is None else str(value)


def counted(count: int, one: str, many: str | None = None) -> str:
    """``1 worker``, ``2 workers``."""
    return f"{count} {one if count == 1 else many or one + 's'}"


def time_text(seconds: float | None) -> str:
    """Seconds as people say it: ``59.9s``, ``1m01s``, ``1d03h``."""
    if seconds is None:
        return "-"
    if seconds < 60:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d{hours:02}h"
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{rest:02}s"


def size_text(size: float | None) -> str:
    """Bytes as people say it: ``1.5 KiB``."""
    if size is None:
        return "-"
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            break
        size /= 1024
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
