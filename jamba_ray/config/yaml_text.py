"""Reads YAML that anybody may have written: in bounded time and memory, plain values only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

_MAX_BYTES = 4 << 20
_MAX_SIZE = 200_000
"""Values, with all aliases written out; 64 characters of a long text count as one more."""
_MAX_DEPTH = 64
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class YamlTextError(yaml.YAMLError):
    """Says that the text is no YAML, or would unfold without limit; the message is one line."""


def read_yaml(path: Path) -> Any:
    """Reads the plain values of a YAML file.

    Raises:
        YamlTextError: It is no YAML, or too large.
        OSError: It cannot be read.
    """
    return parse_yaml(read_yaml_text(path))


def read_yaml_text(path: Path) -> str:
    """Reads the text of a YAML file, checked, for a parser of another package; raises as
    ``read_yaml`` does."""
    with path.open("rb") as file:
        content = file.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        raise YamlTextError(f"it is longer than {_MAX_BYTES >> 20} MiB")
    try:
        text = content.decode("utf-8")
        _check(text)
    except (yaml.YAMLError, ValueError) as error:
        raise _in_one_line(error) from None
    return text


def parse_yaml(text: str) -> Any:
    """Returns the plain values that ``text`` means.

    Raises:
        YamlTextError: It is no YAML, or too large.
    """
    try:
        _check(text)
        return yaml.load(text, Loader=_LOADER)  # noqa: TID251 (a safe loader, checked before)
    except (yaml.YAMLError, ValueError) as error:  # of a date or number that is none
        raise _in_one_line(error) from None


def _check(text: str) -> None:
    """Walks through the text without building anything.

    An alias (``*name``) adds what it repeats, so 600 bytes of aliases of aliases are found to mean
    a billion values.
    """
    size, open_nodes = 0, list[tuple[str | None, int]]()
    sizes: dict[str, int | None] = {}  # by anchor; None: not at its end yet
    for event in yaml.parse(text, Loader=_LOADER):
        if isinstance(event, yaml.AliasEvent):
            repeated = sizes.get(str(event.anchor), 0)
            if repeated is None:
                raise YamlTextError(f"its alias `*{event.anchor}` repeats what it stands in")
            size += repeated
        elif isinstance(event, yaml.ScalarEvent):
            own = 1 + len(event.value) // 64
            size += own
            if event.anchor is not None:
                sizes[event.anchor] = own
        elif isinstance(event, yaml.CollectionStartEvent):
            open_nodes.append((event.anchor, size))
            size += 1
            if event.anchor is not None:
                sizes[event.anchor] = None
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_nodes.pop()
            if anchor is not None:
                sizes[anchor] = size - before
        if size > _MAX_SIZE:
            raise YamlTextError(f"it unfolds to more than {_MAX_SIZE:,} values")
        if len(open_nodes) > _MAX_DEPTH:
            raise YamlTextError(f"its values are nested more than {_MAX_DEPTH} deep")


def _in_one_line(error: Exception) -> YamlTextError:
    return YamlTextError(" ".join(str(error).split()).rstrip("."))
