# SPDX-License-Identifier: MIT
"""The one command: `python3 benchmarks/run.py [SUITE ...]` (options: --help, docs/benchmarking.md).

Any Python 3.11 or later starts it; it makes `.venv-bench`, installs the peers there when
requirements.txt has changed, and carries on inside as `python -m benchmarks`.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

if __name__ == "__main__":
    # A script's own folder is the first place Python imports from; the package lies above it.
    sys.path[0] = str(ROOT)
    from benchmarks.core.environment import enter

    sys.exit(enter(ROOT, sys.argv[1:]))
