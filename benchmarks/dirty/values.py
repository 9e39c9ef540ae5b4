# SPDX-License-Identifier: MIT
"""What is sent and comes back, by name."""

from __future__ import annotations

import random
from typing import Any

FLOATS = 1536
MEBIBYTE = 1 << 20

_SIZES = {"0 B": 0, "20 B": 20, "1 MiB": MEBIBYTE, "10 MiB": 10 * MEBIBYTE}


def value(name: str) -> Any:
    """Makes a value: "0 B", "20 B", "1 MiB" and "10 MiB" are bytes; "floats", "array".

    Raises:
        KeyError: there is no such value.
    """
    rng = random.Random(20)
    if name == "floats":
        return [rng.random() for _ in range(FLOATS)]
    if name == "array":
        import numpy

        return numpy.array([rng.random() for _ in range(FLOATS)])
    return rng.randbytes(_SIZES[name])


def is_same(sent: Any, came: Any) -> bool:
    """Tells whether an echo is the same value, of the same type."""
    if type(came) is not type(sent):
        return False
    return sent.tobytes() == came.tobytes() if hasattr(sent, "tobytes") else bool(sent == came)
