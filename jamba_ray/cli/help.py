"""Prints ``--help``: what a command does and its most used settings; every setting on request.

It imports nothing that takes long: no Hydra, no torch.
"""

from __future__ import annotations

import re
import typing
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from jamba_ray.cli.options import groups, load_families
from jamba_ray.config.export import LabelledSection
from jamba_ray.config.family import FAMILIES
from jamba_ray.config.names import nearest
from jamba_ray.config.predict import INPUT_SECTIONS
from jamba_ray.config.registry import JudgedSection
from jamba_ray.config.run import DATA_SECTIONS
from jamba_ray.config.section import Section
from jamba_ray.config.settings import GROUPS
from jamba_ray.config.watch import WatchedSection
from jamba_ray.errors import ConfigError, ExitCode

if typing.TYPE_CHECKING:
    from jamba_ray.cli.entry import Command

_INPUTS = (*INPUT_SECTIONS, LabelledSection, JudgedSection, WatchedSection, str)
_OPEN_SECTIONS: dict[str, Mapping[str, type[Section]]] = {
    "model": FAMILIES,
    "data": DATA_SECTIONS,
}
"""Settings whose ``name`` selects the section."""
ALL = "all"
TOPICS: dict[str, tuple[str, ...]] = {
    "data": ("data",),
    "model": ("model",),
    "training": ("training", "precision", "compile", "seed", "objective"),
    "search": (
        "search_space",
        "n_trials",
        "objective",
        "budget",
        "sampler",
        "pruner",
        "max_concurrent",
        "trials_per_runner",
        "workers_per_trial",
        "max_failed_trials",
        "hang_timeout_s",
        "keep_checkpoints",
    ),
}
"""Topic -> the settings that ``--help <topic>`` shows, with all settings below them."""
Row = tuple[str, str, str]


def print_help(console: Console, command: Command[Any], topic: str, prefix: str = "") -> None:
    """Prints the help of a command whose settings have the prefix ``prefix``.

    All settings of a topic, or the two screens where the topic is empty.

    Raises:
        ConfigError: There is neither such a topic nor such a setting.
    """
    load_families()
    rows = list(settings(command.section, prefix))
    if topic:
        chosen = rows if topic == ALL else _of_topic(rows, topic)
        if not chosen:
            paths = [path for path, _, _ in rows if path]
            known = [*topics(command), *(path.partition(".")[0] for path in paths), *paths]
            hint = nearest(topic, known) or f". Say one of {', '.join(topics(command))}."
            raise ConfigError([f"`--help {topic}` must name a topic or a setting{hint}"])
        _print_settings(console, chosen)
        return
    console.print(f"{command.about}\n", highlight=False, markup=False)
    console.print("[bold]Examples[/]")
    console.print(f"{command.examples.rstrip()}\n", highlight=False, markup=False, soft_wrap=True)
    if command.most:
        console.print("[bold]Settings that people change most[/] (name=value)")
        found = {row[0]: row for row in reversed(rows)}
        most = [found[path] for path in command.most]
        _print_settings(console, [(p, default, _first_sentence(text)) for p, default, text in most])
        more = " | ".join(topics(command))
        console.print(
            f"  All others: jamba-ray {command.name} --help {more}\n"
            "  A section or a setting does too: --help "
            f"{'pruner' if 'pruner' in command.section.model_fields else command.most[0]}",
            highlight=False,
            markup=False,
        )
    else:
        console.print("[bold]Settings[/] (name=value)")
        _print_settings(console, rows)
    _print_choices(console, command.section)
    console.print("\n[bold]Flags[/]")
    console.print(
        "  --cfg job          print the configuration and stop (-p training: that part)\n"
        "  --config-dir=DIR   take options from DIR/model, DIR/data, DIR/sweep too",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    if prefix:
        console.print(
            "  --insecure-local   accept a cluster without a token at a loopback address",
            highlight=False,
        )
    codes = ", ".join(f"{code.value} {code.name.lower().replace('_', ' ')}" for code in ExitCode)
    console.print(f"\n[bold]Exit codes[/] {codes}", highlight=False)


def topics(command: Command[Any]) -> list[str]:
    """Returns the topics that ``--help`` has for a command, ``all`` last."""
    fields = command.section.model_fields
    named = [name for name, paths in TOPICS.items() if paths[0] in fields]
    return [*named, ALL]


def groups_of(section: type[Section]) -> list[str]:
    """Returns the groups that choose an option for a section, as they are written on a command
    line."""
    fields = section.model_fields
    named: list[str] = [
        group for group in GROUPS if group in fields and fields[group].annotation not in _INPUTS
    ]
    return [*named, "+sweep"] if "search_space" in fields else named


def settings(section: type[Section], prefix: str = "") -> Iterator[Row]:
    """Yields (name, default, meaning) of every setting.

    An empty name comes before each section that a ``name`` selects; its first row is
    ``model=<name>``.
    """
    for name, field in section.model_fields.items():
        path = f"{prefix}{name}"
        if path in _OPEN_SECTIONS and field.annotation not in (*_INPUTS, str):
            for option, chosen in _OPEN_SECTIONS[path].items():
                yield "", "", ""
                yield f"{path}={option}", "", _first_line(chosen.__doc__)
                yield from (row for row in settings(chosen, f"{path}.") if row[0] != f"{path}.name")
        elif isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from settings(field.annotation, f"{path}.")
        else:
            yield path, _default(field), _meaning(field)


def _of_topic(rows: Iterable[Row], topic: str) -> list[Row]:
    heads = TOPICS.get(topic, (topic.rstrip("."),))
    found = [
        row
        for row in rows
        if any(row[0] == head or row[0].startswith((f"{head}.", f"{head}=")) for head in heads)
    ]
    return found if len(found) != 1 or "=" not in found[0][0] else []


def _print_settings(console: Console, rows: list[Row]) -> None:
    table = Table(box=None, show_header=False, padding=(0, 1, 0, 2), expand=False)
    # On a narrow terminal the meaning wraps; the name of a setting is never cut.
    table.add_column(no_wrap=True, style="cyan", min_width=max(len(path) for path, _, _ in rows))
    table.add_column(overflow="fold")
    for path, default, meaning in rows:
        shown = f" [dim]{escape(f'[{default}]')}[/]" if default not in ("", "null") else ""
        table.add_row(escape(path), f"{escape(meaning)}{shown}")
    console.print(table)


def _print_choices(console: Console, section: type[Section]) -> None:
    options = groups()
    if names := groups_of(section):
        console.print("\n[bold]Choices[/] (group=option)")
    for name in names:
        found = escape("|".join(options[name.removeprefix("+")]))
        console.print(f"  {name}=", found, sep="", highlight=False)


def _default(field: FieldInfo) -> str:
    default = field.get_default(call_default_factory=True)
    if default is PydanticUndefined:
        return "required"
    if isinstance(default, tuple):
        default = list(default)
    return (
        "null"
        if default is None
        else str(default).lower()
        if isinstance(default, bool)
        else str(default)
    )


def _meaning(field: FieldInfo) -> str:
    text = " ".join((field.description or "").split()).replace("``", "`")
    return re.sub(r"\bNone\b", "null", text)


def _first_line(doc: str | None) -> str:
    return (doc or "").strip().partition("\n")[0]


def _first_sentence(text: str) -> str:
    """Returns the first sentence of a meaning; all of it where it describes each value."""
    if text.startswith("`"):
        return text
    return re.split(r"(?<=[^.])\.(?=\s)", text, maxsplit=1)[0].rstrip(".") + "."
