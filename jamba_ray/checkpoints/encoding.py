"""Encodes a snapshot to files and back: safetensors, strict JSON and raw bytes; touches no disk.

Reading never runs code, whatever the bytes are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load as load_safetensors
from safetensors.numpy import save as save_safetensors

from jamba_ray.checkpoints.manifest import is_file_name
from jamba_ray.checkpoints.snapshot import Snapshot
from jamba_ray.errors import CheckpointError

TENSORS = "model.safetensors"
_SUFFIX = ".json"
_RESERVED = "__metadata__"


def encode(snapshot: Snapshot) -> dict[str, bytes]:
    """Returns the snapshot as file name -> content.

    Raises:
        ValueError: If a name cannot be that of a file, a document is no strict JSON, or an array's
            type has no place in safetensors.
    """
    files: dict[str, bytes] = {}
    if snapshot.tensors:
        files[TENSORS] = _encode_tensors(snapshot.tensors)
    for stem, document in snapshot.documents.items():
        files[_checked(stem + _SUFFIX)] = _encode_document(stem, document)
    for name, blob in snapshot.blobs.items():
        if name.endswith(_SUFFIX) or name == TENSORS:
            raise ValueError(
                f"a blob must not be called {name!r}: documents and tensors are. Rename it"
            )
        files[_checked(name)] = bytes(blob)
    return files


def decode(files: Mapping[str, bytes], where: str) -> Snapshot:
    """Returns the snapshot of the files of ``encode``; ``where`` names the checkpoint in errors.

    Raises:
        CheckpointError: If a file does not hold what its name says.
    """
    tensors: dict[str, npt.NDArray[Any]] = {}
    documents: dict[str, Any] = {}
    blobs: dict[str, bytes] = {}
    for name, data in files.items():
        try:
            if name == TENSORS:
                tensors = load_safetensors(data)
            elif name.endswith(_SUFFIX):
                documents[name.removesuffix(_SUFFIX)] = json.loads(
                    data, parse_constant=_no_constant
                )
            else:
                blobs[name] = data
        except (SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise CheckpointError(
                f"{where}: `{name}` is not what its name says ({error}). "
                "It was not written by jamba_ray; use another checkpoint."
            ) from error
    return Snapshot(tensors=tensors, documents=documents, blobs=blobs)


def _encode_tensors(tensors: Mapping[str, npt.NDArray[Any]]) -> bytes:
    plain = {}
    for name, value in sorted(tensors.items()):
        if name == _RESERVED:
            raise ValueError(
                f"a tensor must not be called {_RESERVED!r}: safetensors uses that name"
            )
        array = np.asarray(value)
        # safetensors writes the buffer unchanged: only C order in this machine's bytes is right.
        plain[name] = np.require(array, array.dtype.newbyteorder("="), requirements="C")
    try:
        return bytes(save_safetensors(plain))
    except (SafetensorError, UnicodeEncodeError, KeyError, TypeError) as error:
        raise ValueError(
            f"tensors must be boolean, integer or float arrays with Unicode names, but: {error}"
        ) from error


def _encode_document(stem: str, document: Any) -> bytes:
    try:
        # Without indentation: with it Python's own encoder is used, which is many times slower.
        text = json.dumps(document, allow_nan=False, ensure_ascii=False)
        return (text + "\n").encode()
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"the document {stem!r} must be strict JSON, but: {error}. "
            "Convert NumPy values, and leave NaN and infinity out"
        ) from error


def _checked(name: str) -> str:
    if not is_file_name(name):
        raise ValueError(
            "a file of a checkpoint must be named by 1-64 letters, digits, '.', '_' or '-' and not "
            f"be 'manifest.json', but is {name!r}. Rename it"
        )
    return name


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no strict JSON")
