# SPDX-License-Identifier: MIT
"""The setting of the control socket: a group like those in :mod:`.options`."""

from __future__ import annotations

from typing import Any, Final

import attrs

from trioserve.config import kinds
from trioserve.config.dirty_kinds import SOCKET_PATH
from trioserve.config.fields import about

__all__ = ["ControlOptions"]

_GROUP: Final = "Control"


def _is_control_socket(value: Any) -> bool:
    return isinstance(value, str) and (value in ("auto", "off") or SOCKET_PATH.accepts(value))


_CONTROL_SOCKET: Final = kinds.Kind(
    unit="path",
    expected='"auto", "off", or the path of a Unix socket, some 100 bytes at most, as in '
    '"/run/trioserve/control.sock"',
    accepts=_is_control_socket,
    convert=kinds.as_path_text,
)


@attrs.frozen(kw_only=True, slots=False)
class ControlOptions:
    """Where trioservectl reaches the server."""

    control_socket: str = attrs.field(
        default="auto",
        converter=kinds.as_path_text,
        validator=_CONTROL_SOCKET,
        metadata=about(
            _GROUP,
            _CONTROL_SOCKET,
            "Unix socket for trioservectl: a path, off, or auto: one that trioservectl finds, in "
            "this user's runtime directory",
        ),
    )
