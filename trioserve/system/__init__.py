# SPDX-License-Identifier: MIT
"""The process and the system around it. Nothing here knows of HTTP, or of the dirty pool.

==============  ==========================================================================
notify          systemd is told that the server is ready, reloads, stops, lives
pid_file        the process's id in a file, which is trusted only where it can be
privileges      from root to the user the server runs as, and never back
environment     variables from a file, and the same again at a reload
titles          what ps shows
orphans         the first process of a container, which has others' children to bury
==============  ==========================================================================
"""
