# SPDX-License-Identifier: MIT
"""The benchmarks' own virtual environment: made once, renewed when its inputs change."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

# What is said where a load generator is missing, and where Debian and Ubuntu have it.
TOOLS = {"wrk": "wrk", "h2load": "nghttp2-client"}


def missing_tool(names: Iterable[str]) -> str:
    """Says which of these programs is not installed and how to get it; empty if all are there."""
    for name in names:
        if shutil.which(name) is None:
            return (
                f"benchmarks: {name} is not installed; on Debian and Ubuntu:"
                f" apt-get install {TOOLS[name]}"
            )
    return ""


def enter(root: Path, arguments: list[str]) -> int:
    """Carries on as `python -m benchmarks` inside `.venv-bench`, which is made when it has to be.

    Args:
        root: the repository; becomes the working directory, so relative paths count from it.
        arguments: command line, handed on as it is.

    Returns:
        Only when the benchmarks cannot run: 2, the reason is on stderr. Otherwise this process
        has become the harness.
    """
    python = root / ".venv-bench" / "bin" / "python"
    try:
        prepare(root, python)
    except subprocess.CalledProcessError as exc:
        print(
            f"benchmarks: setting up .venv-bench failed (exit code {exc.returncode}), see above",
            file=sys.stderr,
        )
        return 2
    os.chdir(root)
    os.execv(python, [str(python), "-m", "benchmarks", *arguments])


def prepare(root: Path, python: Path) -> None:
    """Installs the peers and trioserve, unless the stamp says that nothing has changed.

    Raises:
        subprocess.CalledProcessError: venv or pip failed; its own words are on the terminal.
    """
    stamp = root / ".venv-bench" / "installed.stamp"
    wanted = fingerprint(root)
    if stamp.is_file() and python.exists() and stamp.read_text() == wanted:
        return
    print("benchmarks: installing the peers into .venv-bench", file=sys.stderr)
    subprocess.run([sys.executable, "-m", "venv", "--clear", root / ".venv-bench"], check=True)
    requirements = root / "benchmarks" / "requirements.txt"
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "-r", str(requirements), "-e", str(root)], check=True)
    # Last: an install that was interrupted leaves no stamp, and is done again.
    stamp.write_text(wanted)


def fingerprint(root: Path) -> str:
    """Names what .venv-bench was made from: this Python, the pins, trioserve's dependencies."""
    digest = hashlib.sha256(sys.version.encode())
    for path in (root / "benchmarks" / "requirements.txt", root / "pyproject.toml"):
        digest.update(path.read_bytes())
    return digest.hexdigest()
