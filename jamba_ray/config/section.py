"""Defines the kind of object every piece of configuration is, and what a field may say of
itself."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict
from pydantic.config import JsonDict, JsonValue
from pydantic.fields import FieldInfo

FUSIBLE: JsonDict = {"stackable": True}
"""Field metadata (``json_schema_extra``): members of one stack may differ in this field."""

NOT_IN_FINGERPRINT: JsonDict = {"fingerprint": False}
"""Field metadata: the field says where or how to run, never what the result is."""


def as_if_absent(value: JsonValue) -> JsonDict:
    """Makes the metadata of a field that earlier versions lack: with this value the experiment, and
    so the fingerprint, is the one that they made without it."""
    return {"absent": value}


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


def absent_values(section: type[Section]) -> dict[str, Any]:
    """Returns the values with which fields of ``section`` are left out of the fingerprint."""
    extras = {name: field.json_schema_extra for name, field in section.model_fields.items()}
    return {
        name: e["absent"] for name, e in extras.items() if isinstance(e, dict) and "absent" in e
    }


def _says(field: FieldInfo, key: str, *, default: bool) -> bool:
    extra: Any = field.json_schema_extra
    return bool(extra.get(key, default)) if isinstance(extra, dict) else default
