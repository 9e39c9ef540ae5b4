# SPDX-License-Identifier: MIT
"""`python -m benchmarks`: the harness, in an environment that already has the peers."""

from __future__ import annotations

import sys

from benchmarks.cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
