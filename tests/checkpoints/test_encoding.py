from __future__ import annotations

import json
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as stn

from jamba_ray.checkpoints.encoding import decode, encode
from jamba_ray.checkpoints.snapshot import Snapshot
from jamba_ray.errors import CheckpointError

ARRAYS = st.sampled_from(["?", "u1", "<i4", "<i8", ">i8", "<f2", "<f4", ">f4", "<f8"]).flatmap(
    lambda t: stn.arrays(np.dtype(t), stn.array_shapes(min_dims=0, max_dims=4, min_side=0))
)
NAMES = st.text(st.characters(exclude_categories=("Cs",)), max_size=20).filter(
    lambda name: name != "__metadata__"
)


@given(tensors=st.dictionaries(NAMES, ARRAYS, max_size=4))
def test_every_array_under_every_unicode_name_comes_back_bit_for_bit(tensors):
    loaded = decode(encode(Snapshot(tensors=tensors)), "here").tensors
    assert loaded.keys() == tensors.keys()
    for name, array in tensors.items():
        native = array.astype(array.dtype.newbyteorder("="))
        assert loaded[name].dtype == native.dtype
        assert loaded[name].shape == array.shape
        assert loaded[name].tobytes() == native.tobytes()


def test_arrays_that_do_not_lie_in_c_order_come_back_as_they_look():
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    views = {"transposed": array.T, "every other": array[:, ::2], "backwards": array[::-1]}
    loaded = decode(encode(Snapshot(tensors=views)), "here").tensors
    for name, view in views.items():
        np.testing.assert_array_equal(loaded[name], view)


def test_loaded_arrays_can_be_written_to_and_do_not_share_memory():
    loaded = decode(encode(Snapshot(tensors={"a": np.zeros(3), "b": np.zeros(3)})), "here").tensors
    loaded["a"] += 1.0
    assert loaded["b"].sum() == 0.0


TEXT = st.text(st.characters(exclude_categories=["Cs"]))
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | TEXT
    | st.floats(allow_nan=False, allow_infinity=False)
)
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3)
)


@given(JSON)
def test_documents_keep_every_digit(document):
    assert decode(encode(Snapshot(documents={"d": document})), "here").documents["d"] == document


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), -float("inf"), np.float32(1), {1, 2}]
)
def test_a_document_that_is_no_strict_json_is_refused_by_name(value):
    with pytest.raises(ValueError, match="'metrics' must be strict JSON"):
        encode(Snapshot(documents={"metrics": {"x": value}}))


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "x" * 65, "a\x00b", "a\n", "ä"])
def test_names_that_are_no_plain_file_names_are_refused(name):
    with pytest.raises(ValueError, match="must be named by"):
        encode(Snapshot(blobs={name: b""}))


@pytest.mark.parametrize(
    "snapshot",
    [
        Snapshot(blobs={"model.safetensors": b""}),
        Snapshot(blobs={"state.json": b""}),
        Snapshot(documents={"manifest": {}}),
        Snapshot(tensors={"__metadata__": np.zeros(1)}),
        Snapshot(tensors={"text": np.array(["a"])}),
        Snapshot(tensors={"objects": np.array([object()])}),
        Snapshot(tensors={"\ud800": np.zeros(1)}),
    ],
)
def test_what_could_not_be_read_back_is_refused_when_written(snapshot):
    with pytest.raises(ValueError, match=r"must (not )?be"):
        encode(snapshot)


def _safetensors(header: object, body: bytes = b"") -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + body


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff" * 8,
        struct.pack("<Q", 2**63) + b"{}",
        _safetensors(b"not json"),
        _safetensors({"a": {"dtype": "F32", "shape": [2**62, 8], "data_offsets": [0, 4]}}, b"1234"),
        _safetensors({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}, b"1234"),
        _safetensors({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 2**60]}}, b"1234"),
        _safetensors({"a": {"dtype": "NOPE", "shape": [1], "data_offsets": [0, 4]}}, b"1234"),
    ],
)
def test_a_hostile_tensor_file_is_an_error_and_allocates_nothing(data):
    with pytest.raises(CheckpointError, match=r"`model.safetensors` is not what its name says"):
        decode({"model.safetensors": data}, "here")


@pytest.mark.parametrize("data", [b"", b"{", b"NaN", b'{"x": Infinity}', b"[" * 100_000, b"\xff"])
def test_a_hostile_document_is_an_error(data):
    with pytest.raises(CheckpointError, match=r"`state.json` is not what its name says"):
        decode({"state.json": data}, "here")
