# SPDX-License-Identifier: MIT
"""What ``trioserve-dirty`` prints: values as JSON, the pool as tables. Pure."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

from trioserve.pool_table import pool_text as status_text

__all__ = ["as_json", "raw", "status_text"]

# -- values -----------------------------------------------------------------------------------


def as_json(value: Any, *, ascii_only: bool = False) -> str:
    """A value in one line of JSON.

    =============================  ==================================
    a value                        becomes
    =============================  ==================================
    bytes                          ``{"$base64": "…"}``
    datetime, date                 a string, as ISO 8601 has it
    Decimal, UUID, complex number  a string
    set, array                     a list (of lists)
    =============================  ==================================
    """
    return json.dumps(value, ensure_ascii=ascii_only, default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"$base64": b64encode(value).decode()}
    if isinstance(value, set | frozenset):
        return sorted(value, key=repr)
    for method in ("isoformat", "tolist"):  # dates; arrays of numpy, and memoryviews without it
        if hasattr(value, method):
            return getattr(value, method)()
    return str(value)


def raw(value: Any) -> str | bytes:
    """A str or bytes as it is, anything else as JSON."""
    return value if isinstance(value, str | bytes) else as_json(value)
