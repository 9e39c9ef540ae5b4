# SPDX-License-Identifier: MIT
"""What every suite shares: servers, processes, load, statistics, report."""
