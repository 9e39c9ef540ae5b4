# SPDX-License-Identifier: MIT
"""What the figures were taken on: enough to judge them by, no names, no paths."""

from __future__ import annotations

import importlib.metadata
import platform
import re
import subprocess
from pathlib import Path

from benchmarks.core import cores

PACKAGES = (
    "trioserve",
    "trio",
    "httptools",
    "h11",
    "websockets",
    "wsproto",
    "trio-websocket",
    "h2",
    "jh2",
    "uvicorn",
    "uvloop",
    "hypercorn",
    "anycorn",
    "gunicorn",
    "granian",
    "starlette",
    "trio-parallel",
    "anyio",
    "numpy",
)


def machine() -> dict[str, str]:
    """Describes processor, system and interpreter."""
    return {
        "cores": str(cores.COUNT),
        "cpu": cpu_model(Path("/proc/cpuinfo").read_text()),
        "system": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
    }


def versions() -> dict[str, str]:
    """Lists the versions of servers, parts and load generators; "absent" for what is missing."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "absent"
    return found | {"wrk": wrk_version(), "h2load": h2load_version()}


def cpu_model(cpuinfo: str) -> str:
    """Finds the processor's name in /proc/cpuinfo; ARM's has none."""
    match = re.search(r"^model name\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    return match[1].strip() if match else platform.machine()


def wrk_version() -> str:
    """Asks wrk, which says its version and then fails, since it was given no address."""
    try:
        done = subprocess.run(["wrk", "-v"], capture_output=True, text=True, timeout=5, check=False)
    except FileNotFoundError:
        return "absent"
    words = (done.stdout + done.stderr).split()
    return words[1] if words[:1] == ["wrk"] and len(words) > 1 else "unknown"


def h2load_version() -> str:
    """Asks h2load: "h2load nghttp2/1.52.0"; only the HTTP/2 suites need it."""
    try:
        done = subprocess.run(
            ["h2load", "--version"], capture_output=True, text=True, timeout=5, check=False
        )
    except FileNotFoundError:
        return "absent"
    return done.stdout.strip().rpartition("/")[2] or "unknown"
