"""Finds the settings of a section by the types of its fields: texts, and those that differ from
their defaults."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from jamba_ray.config.command_line import override
from jamba_ray.config.data import DataSection
from jamba_ray.config.family import FAMILIES, ModelSection
from jamba_ray.config.run import DATA_SECTIONS
from jamba_ray.config.section import Section


@dataclass(frozen=True)
class TextSetting:
    """Describes a setting whose value is a text or a list of texts."""

    path: tuple[str, ...]
    """Its name, part by part: the last one may hold dots (``data.extra_tests.march.2``)."""
    is_list: bool = False
    may_be_null: bool = False


def text_setting(section: type[Section], key: str) -> TextSetting | None:
    """Returns what ``key`` is of ``section``; None for a setting of another type, and for no
    setting."""
    owners: list[type[Section]] = [section]
    parts = key.split(".")
    for i, part in enumerate(parts):
        fields = [owner.model_fields[part] for owner in owners if part in owner.model_fields]
        found = [_type_of(field.annotation) for field in fields]
        if not found or any(kind != found[0] for kind in found):
            return None
        kind, may_be_null = found[0]
        rest = ".".join(parts[i + 1 :])
        if kind == dict[str, str] and rest:
            return TextSetting((*parts[: i + 1], rest))
        if not rest:
            return _setting(tuple(parts), kind, may_be_null)
        owners = _sections(kind)
    return None


def choices_of(section: type[Section], key: str) -> list[str]:
    """Returns the values of a setting where they can be listed, as a command line has them."""
    owners: list[type[Section]] = [section]
    found: list[FieldInfo] = []
    for part in key.split("."):
        found = [owner.model_fields[part] for owner in owners if part in owner.model_fields]
        owners = [one for field in found for one in _sections(_type_of(field.annotation)[0])]
    return list(dict.fromkeys(c for field in found for c in _choices(field.annotation)))


def _choices(annotation: Any) -> Iterator[str]:
    origin = get_origin(annotation)
    if annotation is bool:
        yield from ("true", "false")
    elif origin is Literal:
        yield from (str(value) for value in get_args(annotation))
    elif origin is Annotated:
        yield from _choices(get_args(annotation)[0])
    elif origin in (Union, UnionType):
        for member in get_args(annotation):
            yield from _choices(member)


def _setting(path: tuple[str, ...], kind: Any, may_be_null: bool) -> TextSetting | None:
    if kind is str:
        return TextSetting(path, may_be_null=may_be_null)
    if get_origin(kind) in (tuple, list) and _type_of(get_args(kind)[0])[0] is str:
        return TextSetting(path, is_list=True, may_be_null=may_be_null)
    return None


def settings_of(section: type[Section], tree: Mapping[str, Any]) -> list[str]:
    """Writes a configuration as the words of a command line, not yet quoted for a shell: what
    differs from the defaults, so that the same command composes ``tree`` again."""
    return list(_words(section, tree, ""))


def _words(section: type[Section], tree: Mapping[str, Any], prefix: str) -> Iterator[str]:
    for name, value in tree.items():
        field, path = section.model_fields.get(name), f"{prefix}{name}"
        kind = None if field is None else _type_of(field.annotation)[0]
        inside = _sections(kind)
        if inside and isinstance(value, Mapping):
            rest = dict(value)
            chosen = next((s for s in inside if _is_named(s, value.get("name"))), inside[0])
            if path in GROUPS:
                yield override(path, rest.pop("name"))
            yield from _words(chosen, rest, f"{path}.")
        elif kind == dict[str, str] and isinstance(value, Mapping):
            yield from (override(f"{path}.{key}", text) for key, text in value.items())
        elif field is None or value != _default(field):
            yield override(path, value)


GROUPS = ("data", "model", "tracking")
"""Sections that a command line chooses by name (``data=table``)."""


def _is_named(section: type[Section], name: Any) -> bool:
    field = section.model_fields.get("name")
    return field is not None and name in get_args(field.annotation)


def _default(field: FieldInfo) -> Any:
    """Returns the default as JSON has it, which knows no tuples."""
    default = field.get_default(call_default_factory=True)
    return list(default) if isinstance(default, tuple) else default


def _type_of(annotation: Any) -> tuple[Any, bool]:
    """Returns (the type without its rules and without None, whether it may be None)."""
    if get_origin(annotation) is Annotated:
        return _type_of(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        members = [a for a in get_args(annotation) if a is not type(None)]
        if len(members) == 1:
            return _type_of(members[0])[0], True
    return annotation, False


def _sections(kind: Any) -> list[type[Section]]:
    """Returns the classes that a field of type ``kind`` may hold; a ``name`` picks one of
    several."""
    if not (isinstance(kind, type) and issubclass(kind, Section)):
        return []
    if issubclass(kind, DataSection):
        return list(DATA_SECTIONS.values())
    return list(FAMILIES.values()) if issubclass(kind, ModelSection) else [kind]
