# SPDX-License-Identifier: MIT
"""gunicorn, which only these tests need."""

from __future__ import annotations

import importlib.util
import os

import pytest

__all__ = ["need_gunicorn"]


def need_gunicorn() -> None:
    """To be called as a module is imported: without gunicorn it skips; where CI=true, it fails."""
    if importlib.util.find_spec("gunicorn") is None and os.environ.get("CI") != "true":
        pytest.skip("gunicorn is not installed (the group test has it)", allow_module_level=True)
