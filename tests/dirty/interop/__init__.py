# SPDX-License-Identifier: MIT
"""Their client with our arbiter, our clients with theirs: gunicorn's, whose wire ours is."""
