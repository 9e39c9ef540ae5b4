# SPDX-License-Identifier: MIT
"""The page as Chromium shows it; that it heals is in tests/test_reload_process.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.browser import browsing
from tests.reloading.failing import raised_by
from trioserve.reloading.as_html import as_html
from trioserve.reloading.as_text import as_text
from trioserve.reloading.report import make_report

if TYPE_CHECKING:
    from pathlib import Path

SOURCE = """
def fail():
    return {"key": [1, 2]}["key"]["a very long line that goes on and on and on and on and on, far"]

try:
    fail()
except TypeError as exc:
    group = exc
    for depth in range(20):
        group = ExceptionGroup("<b>nested</b>" * 20 + "word" * 50, [group])
    raise ValueError("<script>document.title = 'run'</script>" + "w" * 300) from group
"""


@pytest.mark.slow  # starts a browser
def test_a_page_fits_its_window_and_runs_nothing_of_what_it_shows(tmp_path: Path) -> None:
    report = make_report(raised_by(tmp_path, SOURCE))
    page = tmp_path / "page.html"
    page.write_text(as_html(report, as_text(report), "", "ident", heals=True), "utf-8")
    with browsing(tmp_path / "browser") as browser:
        tab = browser.open("about:blank")
        for width in (1200, 400):
            size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
            tab.call("Emulation.setDeviceMetricsOverride", **size)
            tab.call("Page.navigate", url=page.as_uri())
            tab.wait_for("document.readyState === 'complete' && document.querySelector('footer')")
            assert tab.value("document.documentElement.scrollWidth <= innerWidth")
            assert tab.value("document.title").startswith("ValueError: <script>")
            narrowest = (
                "Math.min(...Array.from(document.querySelectorAll('.frame'), e => e.clientWidth))"
            )
            assert tab.value(narrowest) > width / 2
