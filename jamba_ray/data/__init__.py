"""Reads files or generates rows, and turns them into matrices that models train on; no torch, no
Ray.

What it offers by name is imported when it is asked for, so that a file of this room that needs
NumPy alone (``number_format``) loads no pandas: the server of models must not.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jamba_ray.data.labels import LabelRule, labels
    from jamba_ray.data.prepare import prepare, prepare_for, prepare_frame
    from jamba_ray.data.prepared import FeatureSchema, PreparedData, Rows
    from jamba_ray.data.preprocessing import Preprocessor
    from jamba_ray.data.source import SourceFile, changed_files, source_files, source_fingerprint
    from jamba_ray.data.synthetic import generate
    from jamba_ray.data.table import read_table

__all__ = [
    "FeatureSchema",
    "LabelRule",
    "PreparedData",
    "Preprocessor",
    "Rows",
    "SourceFile",
    "changed_files",
    "generate",
    "labels",
    "prepare",
    "prepare_for",
    "prepare_frame",
    "read_table",
    "source_files",
    "source_fingerprint",
]

_PLACES = {
    "FeatureSchema": "prepared",
    "LabelRule": "labels",
    "PreparedData": "prepared",
    "Preprocessor": "preprocessing",
    "Rows": "prepared",
    "SourceFile": "source",
    "changed_files": "source",
    "generate": "synthetic",
    "labels": "labels",
    "prepare": "prepare",
    "prepare_for": "prepare",
    "prepare_frame": "prepare",
    "read_table": "table",
    "source_files": "source",
    "source_fingerprint": "source",
}


if not TYPE_CHECKING:
    # A type checker reads the imports above instead: a name that does not exist is a mistake to it.
    def __getattr__(name):  # noqa: ANN001, ANN202
        if name not in _PLACES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)

    class _Room(ModuleType):
        """Keeps two functions by name that are called like the files that they are in."""

        def __setattr__(self, name, value):  # noqa: ANN001, ANN204
            # Python sets the attribute of a room to each file of it that it has imported.
            if name in ("labels", "prepare") and isinstance(value, ModuleType):
                value = getattr(value, name)
            super().__setattr__(name, value)

    sys.modules[__name__].__class__ = _Room
