"""Defines the kind of object every piece of configuration is, and what a field may say of
itself."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict
from pydantic.config import JsonDict
from pydantic.fields import FieldInfo

FUSIBLE: JsonDict = {"stackable": True}
"""Field metadata (``json_schema_extra``): members of one stack may differ in this field."""

NOT_IN_FINGERPRINT: JsonDict = {"fingerprint": False}
"""Field metadata: the field says where or how to run, never what the result is."""


class Section(BaseModel):
    """Refuses unknown names and non-finite numbers: a frozen piece of configuration.

    Defaults are written here once; YAML files hold choices only.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


def is_stackable(field: FieldInfo) -> bool:
    """Says whether members of one stack may differ in this field."""
    return _says(field, "stackable", default=False)


def is_fingerprinted(field: FieldInfo) -> bool:
    """Says whether a change of this field makes it another experiment."""
    return _says(field, "fingerprint", default=True)


def _says(field: FieldInfo, key: str, *, default: bool) -> bool:
    extra: Any = field.json_schema_extra
    return bool(extra.get(key, default)) if isinstance(extra, dict) else default
