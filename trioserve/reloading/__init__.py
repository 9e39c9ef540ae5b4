# SPDX-License-Identifier: MIT
"""``--reload``: what has changed (watching), and what is served meanwhile (error_page).

An exception becomes a page in three steps, each a file: ``report`` takes it apart, bounded, and
keeps nothing of it but text; ``as_text`` and ``as_html`` write that down; ``error_page`` is the
application that serves it. ``patterns`` says which paths count, ``watching`` when they change.
"""

from __future__ import annotations

from trioserve.reloading.error_page import make_error_app
from trioserve.reloading.watching import Watch, check_reload, open_watch

__all__ = ["Watch", "check_reload", "make_error_app", "open_watch"]
