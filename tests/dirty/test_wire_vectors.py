# SPDX-License-Identifier: MIT
"""gunicorn's own bytes (wire_vectors.json), both ways: ours are the same, and we read them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from trioserve.dirty import frames, tlv
from trioserve.dirty.frames import FrameReader, FrameType

if TYPE_CHECKING:
    from collections.abc import Callable

VECTORS = json.loads(Path(__file__).with_name("wire_vectors.json").read_text())["vectors"]
VALUES = [vector for vector in VECTORS if vector["name"] == "tlv"]
FRAMES = [vector for vector in VECTORS if vector["name"] != "tlv"]


def plain(value: Any) -> Any:
    """A vector's value: ``{"$bytes": hex}`` stands for bytes, at any depth."""
    if isinstance(value, dict):
        if value.keys() == {"$bytes"}:
            return bytes.fromhex(value["$bytes"])
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


def _error(id: int, **error: Any) -> frames.Parts:
    return frames.error(id, error)


#: How each vector's fields are encoded; the ids stand first.
ENCODERS: dict[str, Callable[..., frames.Parts]] = {
    "request": frames.request,
    "response": frames.response,
    "error": _error,
    "chunk": frames.chunk,
    "end": frames.end,
    "status": frames.status,
    "manage": frames.manage,
    "stash_put": frames.stash,
    "stash_keys": frames.stash,
}

TYPES = {
    "request": FrameType.REQUEST,
    "response": FrameType.RESPONSE,
    "error": FrameType.ERROR,
    "chunk": FrameType.CHUNK,
    "end": FrameType.END,
    "status": FrameType.STATUS,
    "manage": FrameType.MANAGE,
    "stash_put": FrameType.STASH,
    "stash_keys": FrameType.STASH,
}


@pytest.mark.parametrize("vector", VALUES, ids=lambda vector: vector["hex"])
def test_a_value_has_the_bytes_that_gunicorn_gives_it(vector: dict[str, Any]) -> None:
    assert tlv.encode(plain(vector["value"])).hex() == vector["hex"]


@pytest.mark.parametrize("vector", VALUES, ids=lambda vector: vector["hex"])
def test_the_bytes_of_gunicorn_give_the_value(vector: dict[str, Any]) -> None:
    decoded = tlv.decode(bytes.fromhex(vector["hex"]))
    expected = plain(vector["value"])
    assert type(decoded) is type(expected)
    assert repr(decoded) == repr(expected)  # 0.0 == -0.0


@pytest.mark.parametrize("vector", FRAMES, ids=lambda vector: vector["name"])
def test_a_frame_has_the_bytes_that_gunicorn_gives_it(vector: dict[str, Any]) -> None:
    fields = plain(vector["value"])
    parts = ENCODERS[vector["name"]](fields.pop("id"), **fields)
    assert b"".join(parts).hex() == vector["hex"]


@pytest.mark.parametrize("vector", FRAMES, ids=lambda vector: vector["name"])
def test_the_frames_of_gunicorn_are_read(vector: dict[str, Any]) -> None:
    fields = plain(vector["value"])
    reader = FrameReader()
    [(frame_type, request_id, payload)] = reader.feed(bytes.fromhex(vector["hex"]))
    reader.eof()
    assert (frame_type, request_id) == (TYPES[vector["name"]], fields.pop("id"))
    decoded = tlv.decode(payload) if payload else {}
    assert decoded == ({"error": fields} if vector["name"] == "error" else fields)
    assert list(decoded) == list({"error": fields} if vector["name"] == "error" else fields)


def test_each_kind_of_gunicorns_frames_and_values_is_among_the_vectors() -> None:
    assert {vector["name"] for vector in FRAMES} == set(ENCODERS)
    codes = {bytes.fromhex(vector["hex"])[0] for vector in VALUES}
    assert codes == {0x00, 0x01, 0x05, 0x06, 0x10, 0x11, 0x20, 0x21}
