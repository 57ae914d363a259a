"""Writes and reads files of ``torch.save`` that hold tensors and plain values alone.

What a stranger may have made is checked before torch reads it: its size, that it is a zip of stored
parts, and which classes its pickle names. Torch's restricted unpickler then reads tensors and plain
values; anything else is refused by name.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

MAX_BYTES = 1 << 34
_MAX_PARTS = 100_000
_MAX_PICKLE_BYTES = 1 << 28
_MAX_DEPTH = 32
_NUMPY_SCALARS: list[Any] = [
    np.dtype,
    (np.float64(0).__reduce__()[0], "numpy.core.multiarray.scalar"),
    (np.float64(0).__reduce__()[0], "numpy._core.multiarray.scalar"),
    *(type(np.dtype(kind)) for kind in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "?")),
]
"""Metrics are often NumPy numbers; torch refuses them unless they are named."""


def written(value: Mapping[str, Any]) -> bytes:
    """Returns the file of ``value``."""
    buffer = io.BytesIO()
    torch.save(dict(value), buffer)  # noqa: TID251 - the format is asked for; nothing is read here
    return buffer.getvalue()


def read(raw: bytes) -> dict[str, Any]:
    """Returns what a file holds: a dictionary of tensors, numbers, texts and such dictionaries.

    Raises:
        ValueError: It is no such file; the message names what is wrong with it.
    """
    _check_zip(raw)
    with safe_globals(_NUMPY_SCALARS):
        try:
            odd = sorted(get_unsafe_globals_in_checkpoint(io.BytesIO(raw)))
        except Exception as error:  # a damaged pickle raises many kinds
            raise ValueError(f"its pickle is damaged ({_first_line(error)})") from error
        if odd:
            raise ValueError(
                f"it holds {', '.join(odd[:3])}{', ...' if len(odd) > 3 else ''}, which would run "
                "code when it is read"
            )
        try:
            found = torch.load(  # noqa: TID251 - tensors and plain values alone, as checked above
                io.BytesIO(raw), map_location="cpu", weights_only=True
            )
        except Exception as error:
            raise ValueError(f"torch refuses it ({_first_line(error)})") from error
    if not isinstance(found, dict):
        raise ValueError(f"it must hold a dictionary, but holds a {type(found).__name__}")
    plain = _plain(found, "", _Budget(len(raw)))
    assert isinstance(plain, dict)
    return plain


def _check_zip(raw: bytes) -> None:
    if not raw.startswith(b"PK\x03\x04"):
        raise ValueError("it is no zip file, as `torch.save` writes; older formats are not read")
    try:
        parts = zipfile.ZipFile(io.BytesIO(raw)).infolist()
    except (zipfile.BadZipFile, ValueError, OSError) as error:
        raise ValueError(f"it is damaged or cut off ({_first_line(error)})") from error
    if len(parts) > _MAX_PARTS:
        raise ValueError(f"it has {len(parts):,} parts, more than {_MAX_PARTS:,}")
    for part in parts:
        if part.compress_type != zipfile.ZIP_STORED:
            raise ValueError(f"its part {part.filename!r} is compressed, which torch never does")
        if part.filename.endswith("data.pkl") and part.file_size > _MAX_PICKLE_BYTES:
            raise ValueError(f"its pickle has {part.file_size:,} bytes, far too many")
    if sum(part.file_size for part in parts) > len(raw):
        raise ValueError("its parts are larger than the file")


class _Budget:
    """Counts the bytes of all tensors: a view may be far larger than what the file stores."""

    def __init__(self, left: int) -> None:
        self.left = left

    def take(self, tensor: Tensor, where: str) -> None:
        self.left -= tensor.numel() * tensor.element_size()
        if self.left < 0:
            raise ValueError(f"{where} is larger than the file")


def _plain(value: Any, where: str, budget: _Budget, depth: int = 0) -> Any:
    """Returns ``value`` with NumPy's numbers as Python's; raises ValueError for anything else."""
    if depth > _MAX_DEPTH:
        raise ValueError(f"`{where}` is nested more than {_MAX_DEPTH} deep")
    if isinstance(value, Tensor):
        if value.layout != torch.strided or value.is_quantized or value.device.type != "cpu":
            raise ValueError(f"`{where}` is no plain tensor")
        budget.take(value, f"`{where}`")
        return value.detach().clone()
    if isinstance(value, Mapping):
        return {
            key if isinstance(key, int) else str(key): _plain(
                one, f"{where}.{key}".strip("."), budget, depth + 1
            )
            for key, one in value.items()
        }
    if isinstance(value, list | tuple):
        return [_plain(one, f"{where}.{i}", budget, depth + 1) for i, one in enumerate(value)]
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ValueError(f"`{where}` is a {type(value).__name__}, neither a tensor nor a plain value")


def finite(value: Any) -> Any:
    """Returns plain values as strict JSON: what is not finite becomes None."""
    if isinstance(value, dict):
        return {str(key): finite(one) for key, one in value.items()}
    if isinstance(value, list):
        return [finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
