# SPDX-License-Identifier: MIT
"""What happens per second, and how long it takes, from what was counted. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Quantile", "Rates", "compare", "quantile"]


@attrs.frozen
class Quantile:
    """A time that a share of requests did not take longer than.

    Attributes:
        seconds: estimated within its bucket, as Prometheus does it.
        is_beyond: it is more than that: the histogram ends there.
    """

    seconds: float
    is_beyond: bool = False


def quantile(bounds: Sequence[float], counts: Sequence[float], share: float) -> Quantile | None:
    """A quantile of a histogram; None of an empty one.

    Args:
        bounds: the buckets' upper ends, in seconds.
        counts: in each bucket, and one more for those beyond.
        share: 0.5 for the median.
    """
    rank = share * sum(counts)
    if not rank:
        return None
    before: float = 0
    lower = 0.0
    for upper, count in zip(bounds, counts, strict=False):
        if count and before + count >= rank:
            return Quantile(lower + (upper - lower) * (rank - before) / count)
        before += count
        lower = upper
    return Quantile(lower, is_beyond=True)


@attrs.frozen
class Rates:
    """What happened between two looks at a server.

    Attributes:
        requests: per second; None: it is not known.
        latencies: shares → quantiles of the requests that ended; None where none did.
        by_worker: process id → its requests per second.
    """

    requests: float | None
    latencies: Mapping[float, Quantile | None]
    by_worker: Mapping[int, float]


def compare(
    before: Mapping[str, Any] | None,
    now: Mapping[str, Any],
    seconds: float,
    shares: Sequence[float] = (0.5, 0.95, 0.99),
) -> Rates:
    """What happened between two statuses.

    Args:
        before: the earlier one; None: there is none, and so nothing is known.
        now: the later one.
        seconds: between them.
        shares: which quantiles are wanted.
    """
    if before is None or seconds <= 0:
        return Rates(None, dict.fromkeys(shares), {})
    earlier = {worker["pid"]: worker.get("requests") for worker in before.get("workers") or ()}
    by_worker = {}
    for worker in now.get("workers") or ():
        was, is_now = earlier.get(worker["pid"]), worker.get("requests")
        if was is not None and is_now is not None:
            by_worker[worker["pid"]] = max(0.0, (is_now - was) / seconds)
    old, new = before.get("stats") or {}, now.get("stats") or {}
    requests = None
    if "requests_total" in old and "requests_total" in new:
        requests = max(0.0, (new["requests_total"] - old["requests_total"]) / seconds)
    return Rates(requests, _latencies(old.get("latency"), new.get("latency"), shares), by_worker)


def _latencies(
    old: Mapping[str, Any] | None, new: Mapping[str, Any] | None, shares: Sequence[float]
) -> Mapping[float, Quantile | None]:
    if not old or not new or old["bounds"] != new["bounds"]:
        return dict.fromkeys(shares)
    # A server that was started anew counts from 0.
    counts = [max(0, b - a) for a, b in zip(old["counts"], new["counts"], strict=True)]
    return {share: quantile(new["bounds"], counts, share) for share in shares}
