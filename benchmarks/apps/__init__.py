# SPDX-License-Identifier: MIT
"""ASGI applications that the benchmarks serve. Imports: stdlib and Starlette only."""
