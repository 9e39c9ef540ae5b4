# SPDX-License-Identifier: MIT
"""Write docs/settings.md, the reference of all settings, from trioserve's own configuration.

Run ``python docs/generate_settings.py`` after a setting changed; a test compares the two.
"""

from __future__ import annotations

from pathlib import Path

from trioserve.config.rendering import reference_as_markdown

TARGET = Path(__file__).parent / "settings.md"


def main() -> None:
    TARGET.write_text(reference_as_markdown(), encoding="utf-8")


if __name__ == "__main__":
    main()
