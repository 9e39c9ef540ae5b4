# SPDX-License-Identifier: MIT
"""Arrays (type code 41), with numpy and without."""

from __future__ import annotations

import sys
from array import array
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from trioserve.dirty import tlv
from trioserve.dirty.errors import DirtyProtocolError
from trioserve.dirty.tlv_arrays import DTYPES

LITTLE = sys.byteorder == "little"


class Subclass(np.ndarray):  # type: ignore[type-arg,unused-ignore]
    pass


@pytest.fixture
def no_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a program without numpy: importing it fails."""
    monkeypatch.setitem(sys.modules, "numpy", None)


def forged(dtype: Any, shape: Any, items: Any) -> bytes:
    return b"\x41" + tlv.encode(dtype) + tlv.encode(shape) + tlv.encode(items)


@settings(max_examples=30, deadline=None)
@given(
    npst.arrays(
        st.sampled_from(sorted(DTYPES)), npst.array_shapes(min_dims=0, min_side=0, max_side=4)
    )
)
def test_an_array_comes_back_with_its_dtype_and_shape(value: Any) -> None:
    data = tlv.encode(value)
    assert b"".join(tlv.encode_parts([value])) == tlv.encode([value])
    for form in (data, memoryview(bytearray(data))):
        decoded = tlv.decode(form)
        assert type(decoded) is np.ndarray
        assert (decoded.dtype.str, decoded.shape) == (value.dtype.str, value.shape)
        assert decoded.tobytes() == np.ascontiguousarray(value).tobytes()


def test_the_layout_is_dtype_shape_and_items_in_c_order() -> None:
    value = np.array([[1, 2], [3, 4]], dtype="<i2", order="F")
    assert tlv.encode(value) == forged("<i2", [2, 2], bytes((1, 0, 2, 0, 3, 0, 4, 0)))


@pytest.mark.parametrize(
    "value",
    [
        np.arange(24).reshape(2, 3, 4).transpose(),
        np.arange(10)[::-2],
        np.arange(4, dtype=">f4"),
        np.arange(4).view(Subclass),
        np.broadcast_to(np.float32(1), (3, 2)),
    ],
    ids=["transposed", "stepped", "big-endian", "subclass", "broadcast"],
)
def test_an_array_of_any_memory_order_is_sent(value: Any) -> None:
    decoded = tlv.decode(tlv.encode(value))
    assert decoded.dtype == value.dtype
    assert decoded.tolist() == value.tolist()


def test_a_decoded_array_can_be_written_to_and_has_its_own_memory() -> None:
    data = bytearray(tlv.encode([np.arange(5000.0), np.zeros(2, dtype=bool)]))
    decoded = tlv.decode(memoryview(data))
    for value in decoded:
        assert value.flags.aligned
        assert value.flags.writeable
    data[:] = bytes(len(data))
    assert decoded[0].tolist() == list(range(5000))


def test_large_items_are_not_copied_into_the_message() -> None:
    value = np.zeros(4096)
    parts = tlv.encode_parts({"a": value})
    value[0] = 1
    assert tlv.decode(b"".join(parts))["a"][0] == 1


def test_bools_other_than_0_and_1_become_true() -> None:
    decoded = tlv.decode(forged("|b1", [3], b"\x00\x01\x07"))
    assert decoded.view("u1").tolist() == [0, 1, 1]


@pytest.mark.parametrize(
    ("scalar", "expected"),
    [
        (np.float32(0.5), 0.5),
        (np.float64(0.1), 0.1),
        (np.int8(-3), -3),
        (np.uint64(2**64 - 1), 2**64 - 1),
        (np.bool_(True), True),
        (np.str_("é"), "é"),
        (np.bytes_(b"a"), b"a"),
    ],
)
def test_scalars_are_sent_as_pythons(scalar: Any, expected: Any) -> None:
    decoded = tlv.decode(tlv.encode([scalar]))[0]
    assert type(decoded) is type(expected)
    assert decoded == expected


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.array([object()]), "an array of dtype object can't be sent"),
        (np.array(["text"]), "an array of dtype <U4 can't be sent"),
        (np.array([(1, 2)], dtype="i4,i4"), "can't be sent"),
        (np.zeros(1, dtype=np.longdouble), "can't be sent"),
        (np.zeros(1, dtype="M8[25s]"), "can't be sent"),
        (np.ma.masked_array([1, 2], mask=[False, True]), "its mask would be lost"),
        (np.datetime64("2024"), "a numpy scalar of dtype datetime64"),
        (np.complex128(1j), "a numpy scalar of dtype complex128"),
        (np.longdouble(1), "a numpy scalar of dtype"),
        (array("w" if sys.version_info >= (3, 13) else "u", "text"), "items of format"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_what_is_not_plain_numbers_is_refused(value: Any, message: str) -> None:
    with pytest.raises(DirtyProtocolError, match=rf"value\['a'\]\[0\]: .*{message}"):
        tlv.encode({"a": [value]})


@pytest.mark.parametrize("letter", "bBhHiIlLqQfd")
def test_the_array_modules_arrays_are_sent(letter: str) -> None:
    value = array(letter, [1, 2, 3])
    decoded = tlv.decode(tlv.encode(value))
    assert decoded.dtype == np.dtype(letter)
    assert decoded.tolist() == value.tolist()


@pytest.mark.parametrize(
    "value",
    [
        np.arange(6, dtype=">i4").reshape(2, 3),
        np.arange(6, dtype="<u2")[::2],
        np.arange(3, dtype="f2"),
        np.arange(3) * 1j,
        np.array([True, False]),
        np.array(1.5),
        np.zeros((0, 2)),
        np.arange(4, dtype="u1").reshape(2, 2),
    ],
    ids=lambda value: f"{value.dtype.str}{value.shape}",
)
def test_typed_views_are_sent_as_arrays(value: Any) -> None:
    decoded = tlv.decode(tlv.encode(memoryview(value)))
    assert decoded.dtype == value.dtype
    assert decoded.shape == value.shape
    assert decoded.tolist() == value.tolist()


# -- without numpy --------------------------------------------------------------------------


@pytest.mark.parametrize("letter", "bBhHiIqQfd")
@pytest.mark.parametrize("order", ["<", ">"])
def test_without_numpy_a_typed_memoryview_comes(
    no_numpy: None, letter: str, order: str, request: pytest.FixtureRequest
) -> None:
    value = array(letter, [1, 2, 3, 4, 5, 6])
    view: Any = memoryview(value).cast("B")
    data = tlv.encode(view.cast(letter, (2, 3)))
    if (order == "<") != LITTLE and value.itemsize > 1:
        data = data.replace(b"<" if LITTLE else b">", order.encode()).replace(
            value.tobytes(), _swapped(value)
        )
    decoded: Any = tlv.decode(data)
    assert isinstance(decoded, memoryview)
    assert (decoded.format, decoded.shape) == (letter, (2, 3))
    items: Any = decoded.tolist()
    assert items == [value.tolist()[:3], value.tolist()[3:]]
    decoded[0, 0] = 9  # its own memory, too


def _swapped(value: array[Any]) -> bytes:
    swapped = array(value.typecode, value)
    swapped.byteswap()
    return swapped.tobytes()


def test_without_numpy_no_items_keep_their_format(no_numpy: None) -> None:
    decoded = tlv.decode(forged("<f8", [0, 3], b""))
    assert (decoded.format, decoded.tolist()) == ("d", [])


def test_without_numpy_one_item_without_dimensions_stays_so(no_numpy: None) -> None:
    data = tlv.encode(memoryview(array("d", [1.5])).cast("B").cast("d", ()))
    decoded = tlv.decode(data)
    assert (decoded.shape, decoded.tolist()) == ((), 1.5)


@pytest.mark.parametrize("dtype", ["<f2", "<c8", "<c16", "<M8[ns]", ">m8[D]"])
def test_without_numpy_what_no_memoryview_shows_is_refused(no_numpy: None, dtype: str) -> None:
    size = DTYPES[dtype][0]
    with pytest.raises(DirtyProtocolError, match="to read it takes numpy"):
        tlv.decode(forged(dtype, [2], bytes(2 * size)))


def test_an_array_can_be_split_off_without_numpy(no_numpy: None) -> None:
    data = forged("<c8", [2], bytes(16))
    assert tlv.split(tlv.encode({"value": tlv.Encoded(data)})) == {"value": data}


# -- what is refused ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "shape", "items", "message"),
    [
        ("O", [1], bytes(8), "'O' is no dtype that can be sent"),
        ("<f8,<f8", [1], bytes(16), "is no dtype that can be sent"),
        ("|V8", [1], bytes(8), "is no dtype that can be sent"),
        ("f8", [1], bytes(8), "is no dtype that can be sent"),
        ("<U1", [1], bytes(4), "is no dtype that can be sent"),
        ("é", [1], bytes(4), "is no dtype that can be sent"),
        (b"<f8", [1], bytes(8), "expected an array's dtype .* got 0x10"),
        ("<f8", 1, bytes(8), "expected an array's shape .* got 0x05"),
        ("<f8", [1.0], bytes(8), "expected a dimension .* got 0x06"),
        ("<f8", [-1], bytes(8), "a dimension of -1"),
        ("<f8", [-1, -1], bytes(8), "a dimension of -1"),
        ("<f8", [1], "text", "expected an array's items .* got 0x11"),
        ("<f8", [2], bytes(15), r"shape \[2\] has 16 bytes, but 15 came"),
        ("<f8", [2**62, 2**62], b"", "bytes, but 0 came"),
        ("<f8", [], b"", r"shape \[\] has 8 bytes, but 0 came"),
        ("<f8", [1] * 65, bytes(8), "65 dimensions: the limit is 64"),
        ("<f8", [0, 2**62, 2**62], b"", "an array that numpy can't hold"),
    ],
)
def test_a_forged_array_is_refused(dtype: Any, shape: Any, items: Any, message: str) -> None:
    data = forged(dtype, shape, items)
    with pytest.raises(DirtyProtocolError, match=message):
        tlv.decode(data)
    large = tlv.encode([bytes(20_000), tlv.Encoded(data)])
    with pytest.raises(DirtyProtocolError, match=message):
        tlv.decode(memoryview(large))


def test_every_beginning_of_an_array_is_refused() -> None:
    data = tlv.encode(np.arange(4).reshape(2, 2))
    for size in range(len(data)):
        with pytest.raises(DirtyProtocolError):
            tlv.decode(data[:size])
        with pytest.raises(DirtyProtocolError):
            tlv.split(b"\x21\x00\x00\x00\x01" + tlv.encode("a") + data[:size])
