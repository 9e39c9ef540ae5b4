# SPDX-License-Identifier: MIT
"""A module a contender, with `run(conversation)`: opens its pool and carries out commands."""
