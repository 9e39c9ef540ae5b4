# SPDX-License-Identifier: MIT
"""Exceptions for the tests of pages: raised by modules that are written for it."""

from __future__ import annotations

import importlib.util
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["caught", "raised_by"]


def caught(raise_it: Callable[[], object]) -> BaseException:
    """What a call raises, without the calls of this file."""
    try:
        raise_it()
    except BaseException as exc:
        frames = exc.__traceback__
        while frames is not None and frames.tb_frame.f_code.co_filename == __file__:
            frames = frames.tb_next
        return exc.with_traceback(frames)
    raise AssertionError("nothing was raised")


def raised_by(folder: Path, source: str, name: str = "failing_app") -> BaseException:
    """What a module of this source raises when it is imported."""
    path = folder / f"{name}.py"
    path.write_text(source, "utf-8")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    return caught(partial(spec.loader.exec_module, importlib.util.module_from_spec(spec)))
