# SPDX-License-Identifier: MIT
"""The settings of ``--reload``: a group like those in :mod:`.options`."""

from __future__ import annotations

from typing import Any, Final

import attrs

from trioserve.config import kinds
from trioserve.config.fields import about, setting

__all__ = ["ReloadOptions"]

_RELOAD: Final = "Reload"


def _texts(unit: str, expected: str) -> kinds.Kind:
    return kinds.Kind(
        unit=unit,
        expected=expected,
        accepts=lambda value: kinds.are_texts(value) and "" not in value,
        convert=_as_texts,
        from_text=kinds.texts_from_text,
        is_list=True,
    )


def _as_texts(value: Any) -> Any:
    """Lenient: one text or path, or any iterable of them, as a tuple of texts."""
    texts = kinds.as_texts(kinds.as_path_text(value))
    if not isinstance(texts, tuple):
        return texts
    return tuple(kinds.as_path_text(text) for text in texts)


# That they exist is looked at by who watches: until then --chdir may have changed what they are.
_DIRECTORIES: Final = _texts("directory", "paths of directories")
_GLOBS: Final = _texts("glob", 'file names or globs, as "*.html" or "templates/*"')


@attrs.frozen(kw_only=True, slots=False)
class ReloadOptions:
    """Restarting when a file changes, for development."""

    reload: bool = setting(
        _RELOAD,
        kinds.SWITCH,
        False,
        "Restart when a file changes, and show errors as pages; for development only",
    )
    reload_dir: tuple[str, ...] = attrs.field(
        default=(),
        converter=_as_texts,
        validator=_DIRECTORIES,
        metadata=about(
            _RELOAD,
            _DIRECTORIES,
            "Watch this directory, with all below it, instead of app_dir; may be repeated",
        ),
    )
    reload_include: tuple[str, ...] = attrs.field(
        default=(),
        converter=_as_texts,
        validator=_GLOBS,
        metadata=about(
            _RELOAD, _GLOBS, "Files that matter besides *.py, as a glob; may be repeated"
        ),
    )
    reload_exclude: tuple[str, ...] = attrs.field(
        default=(),
        converter=_as_texts,
        validator=_GLOBS,
        metadata=about(
            _RELOAD,
            _GLOBS,
            "Files and directories that never matter, besides hidden and installed ones; "
            "may be repeated",
        ),
    )
