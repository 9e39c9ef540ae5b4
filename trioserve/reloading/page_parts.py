# SPDX-License-Identifier: MIT
"""What every error page has in it: its style and its script. Both are constants (see as_html)."""

from __future__ import annotations

from typing import Final

__all__ = ["MARKER", "SCRIPT", "STYLE"]

#: The response field that tells an error page from the application, with the error's ident.
MARKER: Final = "x-trioserve-error"

STYLE: Final = """
:root {
  color-scheme: light dark;
  --page: #f6f5f3; --card: #fff; --edge: #dcd9d3; --text: #23211e; --faint: #6a665f;
  --accent: #b3261e; --row: #fdecea; --mark: #f6b9b3; --added: #fff6dd;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #181716; --card: #211f1e; --edge: #3a3734; --text: #e8e4de; --faint: #a19b92;
    --accent: #ff8a80; --row: #3a2220; --mark: #7a2f29; --added: #332c18;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 2rem 1.5rem; max-width: 72rem;
  background: var(--page); color: var(--text);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere;
}
code, pre, .file, .line, .message, .added, .kind {
  font-family: ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace;
}
header { border-left: .3rem solid var(--accent); padding-left: 1rem; margin-bottom: 1.5rem; }
h1, h2 { margin: 0; color: var(--accent); line-height: 1.3; }
h1 { font-size: 1.6rem; }
h2 { font-size: 1.2rem; }
p { margin: .4rem 0; }
.message { font-size: 1.05rem; white-space: pre-wrap; max-height: 24rem; overflow-y: auto; }
.added { white-space: pre-wrap; background: var(--added); padding: .3rem .6rem; font-size: .9rem; }
.note, .hint, .order, .more, footer { color: var(--faint); font-size: .9rem; }
.link { color: var(--faint); font-weight: 600; }
.frame, .plain {
  margin: .5rem 0; background: var(--card); border: 1px solid var(--edge); border-radius: .4rem;
  overflow: hidden;
}
summary, .bare { padding: .45rem .75rem; font-size: .9rem; }
summary { cursor: pointer; }
summary:hover { background: var(--page); }
summary:focus-visible, .source:focus-visible {
  outline: 2px solid var(--accent); outline-offset: -2px;
}
.library { opacity: .8; }
.file { font-weight: 600; }
.library .file { font-weight: 400; }
.line { color: var(--faint); }
pre {
  margin: 0; padding: .5rem 0; overflow-x: auto;
  font-size: .85rem; line-height: 1.55; tab-size: 4;
}
.plain pre { padding: .5rem .75rem; border-top: 1px solid var(--edge); }
.source { border-top: 1px solid var(--edge); }
.source code { display: inline-block; min-width: 100%; }
.row { display: block; padding-right: .75rem; }
.number {
  display: inline-block; padding: 0 .75rem; color: var(--faint);
  user-select: none; white-space: pre;
}
.marked { background: var(--row); }
.marked .number { color: var(--accent); font-weight: 700; }
mark { background: var(--mark); color: inherit; border-radius: .15rem; }
.part, .earlier { margin: 1.25rem 0 0; padding-left: 1rem; border-left: .2rem solid var(--edge); }
/* Deep ones would have no width left. */
:is(.part, .earlier) :is(.part, .earlier) :is(.part, .earlier) :is(.part, .earlier) {
  padding-left: 0; border-left: 0;
}
footer { margin-top: 2rem; }
@media (max-width: 40rem) {
  body { padding: 1rem .75rem; }
  h1 { font-size: 1.3rem; }
  pre { font-size: .78rem; }
  .number { padding: 0 .5rem; }
  .part, .earlier { padding-left: .6rem; }
}
"""

# It asks for the page that it stands in, and loads it once the answer is not this error: another
# one, or the application's own. While nobody sees it, it doesn't ask.
SCRIPT: Final = """
(() => {
  const shown = document.documentElement.dataset.error;
  let asking = false;
  const look = async () => {
    if (asking || document.hidden) return;
    asking = true;
    try {
      const answer = await fetch(location.pathname + location.search, {
        method: "HEAD", cache: "no-store", redirect: "manual",
      });
      if (answer.headers.get("MARKER") !== shown) return location.reload();
    } catch {
      // No server there, as between two processes; it is asked again.
    }
    asking = false;
  };
  setInterval(look, 1000);
  document.addEventListener("visibilitychange", look);
})();
""".replace("MARKER", MARKER)
