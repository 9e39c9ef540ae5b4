# SPDX-License-Identifier: MIT
"""The control socket of a server, and the command ``trioservectl`` that talks to it.

====================  ============================================================================
``controls``          what can be asked of a server: a Protocol
``messages``          requests and answers as lines of JSON; pure
``paths``             where the socket lies, and where the command looks for it
``server``            the server's end
``client``            the command's end: blocking, without Trio
``command``           ``trioservectl``; ``output`` has what it prints; ``top`` is its live screen,
                      which ``screen`` lays out, with figures from ``rates``
====================  ============================================================================

The wire: a client sends a line, ``{"ask": "add_workers", "with": {"count": 2}}``, and gets one,
``{"answer": …}`` or ``{"refused": "why"}``, before its next is read.
"""
