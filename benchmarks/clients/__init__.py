# SPDX-License-Identifier: MIT
"""Load that wrk cannot make: idle connections, one huge body."""
