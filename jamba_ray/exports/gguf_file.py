"""Writes and reads GGUF files of one network; the only file that imports ``gguf``.

Matrices are flattened to rows of 256 values, filled up with zeros: a K-quant needs rows of a
multiple of 256, which the matrices of small networks do not have. Their shapes are in the metadata,
with all else that makes the model whole.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import gguf
import numpy as np
import numpy.typing as npt

from jamba_ray.exports.k_quants import BLOCK, Kind, quantised

Weights: TypeAlias = Mapping[str, npt.NDArray[Any]]

ARCHITECTURE = "jamba_ray"
_DOCUMENT = "jamba_ray.document"
_MAX_TENSORS = 100_000
_TYPES = {kind: gguf.GGMLQuantizationType[kind] for kind in ("Q4_K", "Q5_K", "Q8_0", "F32")}


@dataclass(frozen=True)
class Mix:
    """Says how the weights of a file are stored."""

    values: Mapping[str, int]
    """Type -> weights of it."""

    @property
    def words(self) -> str:
        """Returns the mix in words, the most frequent type first."""
        total = max(sum(self.values.values()), 1)
        ordered = sorted(self.values.items(), key=lambda one: -one[1])
        return ", ".join(f"{n / total:.1%} {kind}" for kind, n in ordered if n)


def written(weights: Weights, kinds: Mapping[str, Kind], document: Mapping[str, Any]) -> bytes:
    """Returns the file; ``kinds`` are those of the weights to quantise, the others stay float32."""
    shapes = {name: list(array.shape) for name, array in weights.items()}
    with tempfile.TemporaryDirectory(prefix="jamba_ray-") as folder:
        path = Path(folder) / "model.gguf"
        writer = gguf.GGUFWriter(path, ARCHITECTURE)
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
        writer.add_string(_DOCUMENT, json.dumps({**document, "shapes": shapes}, allow_nan=False))
        for name, array in weights.items():
            kind = kinds.get(name)
            if kind is None:
                # A number alone has no dimension, which GGUF does not know.
                writer.add_tensor(name, np.atleast_1d(array).astype(np.float32))
            else:
                flat = np.zeros(math.ceil(array.size / BLOCK) * BLOCK, dtype=np.float32)
                flat[: array.size] = array.ravel()
                packed = quantised(flat, kind).reshape(len(flat) // BLOCK, -1)
                writer.add_tensor(name, packed, raw_dtype=_TYPES[kind])
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path.read_bytes()


def read(raw: bytes) -> tuple[dict[str, npt.NDArray[np.float32]], dict[str, Any], Mix]:
    """Returns the weights, float32 in their shapes, the document and the mix of a file.

    Raises:
        ValueError: It is no file that ``written`` made.
    """
    if raw[:4] != b"GGUF":
        raise ValueError("it is no GGUF file")
    # Counts of the header: the reader would loop over as many as a stranger writes.
    n_tensors, n_fields = (int.from_bytes(raw[i : i + 8], "little") for i in (8, 16))
    if n_tensors > _MAX_TENSORS or n_fields > _MAX_TENSORS:
        raise ValueError(f"it says that it has {n_tensors:,} tensors and {n_fields:,} fields")
    with tempfile.TemporaryDirectory(prefix="jamba_ray-") as folder:
        path = Path(folder) / "model.gguf"
        path.write_bytes(raw)
        try:
            reader = gguf.GGUFReader(path)
            values: dict[str, int] = {}
            document = json.loads(reader.fields[_DOCUMENT].contents())
            found = {
                tensor.name: _values(tensor, document["shapes"][tensor.name])
                for tensor in reader.tensors
            }
            for tensor in reader.tensors:
                kind = tensor.tensor_type.name
                values[kind] = values.get(kind, 0) + found[tensor.name].size
            if any(int(t.data_offset) + int(t.n_bytes) > len(raw) for t in reader.tensors):
                raise ValueError("it is cut off")
        except Exception as error:  # a damaged file raises many kinds
            why = (str(error).splitlines() or [type(error).__name__])[0][:160]
            raise ValueError(f"it is damaged, or not of `jamba-ray export` ({why})") from error
    if found.keys() != document["shapes"].keys():
        raise ValueError("it lacks tensors that it names")
    return found, document, Mix(values)


def _values(tensor: Any, shape: list[int]) -> npt.NDArray[np.float32]:
    kind = tensor.tensor_type.name
    if kind not in _TYPES:
        raise ValueError(f"`{tensor.name}` is {kind}, which is not read")
    flat = gguf.dequantize(np.array(tensor.data), tensor.tensor_type).ravel()
    size = math.prod(shape)
    if not 0 <= size <= len(flat):
        raise ValueError(f"`{tensor.name}` has {len(flat)} values, but its shape is {shape}")
    found: npt.NDArray[np.float32] = flat[:size].astype(np.float32).reshape(shape)
    return found
