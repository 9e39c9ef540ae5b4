# SPDX-License-Identifier: MIT
"""``python -m trioserve``: the same as the ``trioserve`` command."""

from __future__ import annotations

import sys

from trioserve.cli import main

if __name__ == "__main__":
    sys.exit(main())
