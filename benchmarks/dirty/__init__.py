# SPDX-License-Identifier: MIT
"""Pools of worker processes side by side; each calls from a process of its own (caller.py)."""
