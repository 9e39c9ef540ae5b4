# SPDX-License-Identifier: MIT
"""What ``ps`` and ``top`` show of a process."""

from __future__ import annotations

__all__ = ["process_title", "set_process_title"]

_PLAIN_NAME = "trioserve"


def process_title(role: str, process_name: str = _PLAIN_NAME) -> str:
    """``trioserve: arbiter [shop]``; without the brackets where the server has no name of its own.

    Args:
        role: ``arbiter``, ``worker 2``, ``dirty worker 1``.
        process_name: The setting.
    """
    title = f"{_PLAIN_NAME}: {role}"
    return title if process_name == _PLAIN_NAME else f"{title} [{process_name}]"


def set_process_title(text: str) -> None:
    """Shows ``text`` in the place of the command line, where setproctitle is installed.

    The memory of the command line and the environment as they were at the start is overwritten:
    ``/proc/PID/environ`` is no use after it. ``os.environ`` stays.
    """
    try:
        import setproctitle
    except ImportError:
        return
    setproctitle.setproctitle(text)
