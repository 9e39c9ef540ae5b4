# SPDX-License-Identifier: MIT
"""Measures trioserve beside its peers, alternately and by ratios (docs/benchmarking.md)."""
