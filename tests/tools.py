# SPDX-License-Identifier: MIT
"""Programs that some tests need besides Python."""

from __future__ import annotations

import os
import shutil

import pytest

__all__ = ["find_tool"]


def find_tool(name: str) -> str:
    """The path of a program; without it the test skips, but fails where CI=true."""
    path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if path is None:
        reason = f"{name} is not installed (.ci/run has the list)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return path
