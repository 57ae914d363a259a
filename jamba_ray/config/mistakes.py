"""Finds all mistakes of a configuration at once: each a sentence with rule, value and way out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar, get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from jamba_ray.config.command_line import setting
from jamba_ray.config.names import nearest
from jamba_ray.config.section import Section
from jamba_ray.errors import ConfigError

S = TypeVar("S", bound=Section)

_RANGES = {
    "greater_than": ("above", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("below", "lt"),
    "less_than_equal": ("at most", "le"),
}
_TYPES = {
    "int_type": "an integer",
    "int_parsing": "an integer",
    "int_from_float": "an integer",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "a text",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
}


def validate(section: type[S], tree: Mapping[str, Any]) -> S:
    """Makes a ``section`` of plain values.

    Raises:
        ConfigError: With every mistake in it.
    """
    try:
        return section.model_validate(dict(tree))
    except ValidationError as error:
        raise ConfigError(sentences(error, section)) from None


def sentences(error: ValidationError, section: type[Section]) -> list[str]:
    """Returns one sentence a mistake, in the order of the configuration, without repeats."""
    by_path: dict[str, list[str]] = {}
    for path, problem, known in _problems(error, section, ()):
        by_path.setdefault(path, []).append(_sentence(path, problem, known, section))
    return [sentence for path, found in by_path.items() for sentence in _alternatives(path, found)]


def _alternatives(path: str, found: list[str]) -> list[str]:
    """Joins what the members of a union say: "must be a number" and "must be 'balanced'" are
    one."""
    rules = [s.partition("must be ")[2].partition(", but is ")[0] for s in found]
    if len(found) < 2 or not all(rules):
        return list(dict.fromkeys(found))
    tail = found[0].partition(", but is ")[2]
    return [f"`{path}` must be {' or '.join(dict.fromkeys(rules))}, but is {tail}"]


def _problems(
    error: ValidationError, section: type[Section], prefix: tuple[str, ...]
) -> list[tuple[str, ErrorDetails, list[str]]]:
    """Yields (dotted path, problem, names known beside it); looks into nested validations."""
    rows = []
    for problem in error.errors():
        loc = tuple(str(part) for part in problem["loc"])
        # A union puts the name of its member in the location: it is no part of the user's path.
        loc = tuple(part for part in loc if not _is_union_tag(part))
        inner = problem.get("ctx", {}).get("error")
        path = (*prefix, *loc)
        if isinstance(inner, NestedMistakes):
            rows += _problems(inner.error, inner.section, path)
            continue
        rows.append((".".join(path), problem, _known_beside(section, loc)))
    return rows


class NestedMistakes(ValueError):
    """Carries the mistakes of a section that was validated by its ``name``."""

    def __init__(self, error: ValidationError, section: type[Section]) -> None:
        super().__init__(str(error))
        self.error = error
        self.section = section


def _is_union_tag(part: str) -> bool:
    plain = {"none", "bool", "int", "float", "str"}
    return part in plain or part.startswith(("literal[", "constrained-", "function-"))


def _known_beside(section: type[Section], loc: tuple[str, ...]) -> list[str]:
    """Returns the field names of the section that holds the last part of ``loc``."""
    current: Any = section
    for part in loc[:-1]:
        field = current.model_fields.get(part) if hasattr(current, "model_fields") else None
        if field is None or not hasattr(field.annotation, "model_fields"):
            return []
        current = field.annotation
    return list(current.model_fields)


def _paths(section: type[Section], prefix: str = "") -> Iterator[str]:
    """Yields every setting of a section with its full name."""
    for name, field in section.model_fields.items():
        yield f"{prefix}{name}"
        for inner in _sections_in(field.annotation):
            yield from _paths(inner, f"{prefix}{name}.")


def _elsewhere(name: str, section: type[Section]) -> str:
    """Returns the full names that a name without its section may mean, as ``nearest`` says it."""
    paths = sorted(set(_paths(section)), key=lambda path: (not path.startswith("training."), path))
    close = nearest(name, paths)
    last = close.rstrip("`?").rpartition("`")[2].rpartition(".")[2]
    meant = [f"`{path}`" for path in paths if path.rpartition(".")[2] == last]
    return f". Did you mean {' or '.join(meant)}?" if len(meant) in (2, 3) else close


def _options_with(path: str, section: type[Section]) -> list[str]:
    """Returns the options (``model=attention``) of a group that have the setting ``path``."""
    group, _, rest = path.partition(".")
    field = section.model_fields.get(group)
    named = {
        str(inner.model_fields["name"].default): inner
        for inner in _sections_in(None if field is None else field.annotation)
        if "name" in inner.model_fields
    }
    return sorted(f"`{group}={name}`" for name, inner in named.items() if rest in _paths(inner))


def _sections_in(annotation: Any) -> Iterator[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        yield from (annotation, *annotation.__subclasses__())
    else:
        for part in get_args(annotation):
            yield from _sections_in(part)


def _sentence(path: str, problem: ErrorDetails, known: list[str], section: type[Section]) -> str:
    kind = problem["type"]
    given = problem.get("input")
    context = problem.get("ctx", {})
    if kind == "extra_forbidden":
        name = path.rpartition(".")[2]
        if options := _options_with(path, section):
            return f"`{path}` is a setting of {' and '.join(options)} only. Choose that or drop it."
        close = nearest(name, known) or _elsewhere(name, section)
        here = f" Known here: {', '.join(sorted(known))}." if known and not close else ""
        return f"`{path}` is not a setting{close or '.'}{here}"
    if kind == "missing":
        return f"`{path}` must be given, but is missing. Set `{path}=...`."
    if kind == "value_error":
        text = str(context.get("error", problem["msg"])).rstrip(".")
        text = text if text.startswith("`") or not path else f"`{path}`: {text}"
        return text if text.endswith("?") else f"{text}."
    if kind in _RANGES:
        words, key = _RANGES[kind]
        return f"`{path}` must be {words} {context[key]}, but is {given!r}."
    if kind == "literal_error":
        close = nearest(str(given), _choices(str(context["expected"])))
        return f"`{path}` must be {context['expected']}, but is {given!r}{close or '.'}"
    if kind in {"tuple_type", "list_type"} and isinstance(given, str):
        return f"`{path}` must be a list, but is {given!r}. Write {setting(path, [given])}."
    if kind in _TYPES:
        return f"`{path}` must be {_TYPES[kind]}, but is {given!r}."
    return f"`{path}`: {problem['msg']}, but is {given!r}."


def _choices(expected: str) -> list[str]:
    return [part.strip(" '") for part in expected.replace(" or ", ", ").split(",")]
