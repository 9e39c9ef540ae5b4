# SPDX-License-Identifier: MIT
"""Values that can be sent, as hypothesis strategies, and what it means that one came back."""

from __future__ import annotations

import datetime
import decimal
from typing import Any

from hypothesis import strategies as st

__all__ = ["plain_values", "same", "texts", "values"]


def same(left: Any, right: Any) -> bool:
    """Equal in type, too, at any depth; NaN is itself, and -0.0 is not 0.0."""
    if type(left) is not type(right):
        return False
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict):
        return list(left) == list(right) and all(map(same, left.values(), right.values()))
    if isinstance(left, float):
        return bool(left.hex() == right.hex())
    if isinstance(left, decimal.Decimal):
        return str(left) == str(right)
    return bool(left == right)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
plain_scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.binary(max_size=20),
    texts,
)
offsets = st.builds(
    datetime.timezone,
    st.timedeltas(datetime.timedelta(hours=-23), datetime.timedelta(hours=23)),
)
times = st.datetimes(timezones=st.none() | st.just(datetime.UTC) | offsets)
hashables = st.one_of(
    st.booleans(),
    st.integers(),
    texts,
    st.binary(max_size=10),
    st.uuids(),
    st.dates(),
    st.frozensets(st.integers(), max_size=3),
)
scalars = st.one_of(
    plain_scalars,
    st.integers(),
    st.integers(-(2**300), 2**300),
    times,
    st.dates(),
    st.decimals(),
    st.uuids(),
    st.sets(hashables, max_size=4),
    st.frozensets(hashables, max_size=4),
)


def nested(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(
        leaves,
        lambda values: st.lists(values, max_size=9) | st.dictionaries(texts, values, max_size=4),
        max_leaves=9,
    )


plain_values = nested(plain_scalars)
values = nested(scalars)
