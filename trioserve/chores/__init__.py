# SPDX-License-Identifier: MIT
"""What a server does beside serving. Each is a task of the arbiter's.

==============  ==========================================================================
control         the control socket: what ``trioservectl`` asks, answered by the arbiter
metrics         figures for Prometheus and statsd
reload          files are watched, and workers start anew when some have changed
==============  ==========================================================================

A chore says by ``task_status`` that it has begun; what it raises before that stops the start. What
it raises later is logged, and is its own end only.
"""
