"""``--help``: what a command does, and every setting with its default and meaning."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from jamba_ray.cli.composition import groups
from jamba_ray.config.family import FAMILIES
from jamba_ray.config.predict import InputSection
from jamba_ray.config.run import DATA_SECTIONS
from jamba_ray.config.section import Section
from jamba_ray.errors import ExitCode

_OPEN_SECTIONS: dict[str, Mapping[str, type[Section]]] = {
    "model": FAMILIES,
    "data": DATA_SECTIONS,
}
"""Settings whose ``name`` picks the section."""


def print_help(
    console: Console, about: str, examples: str, section: type[Section], prefix: str = ""
) -> None:
    """Print the help of a command whose settings are ``section``, each behind ``prefix``."""
    console.print(f"{about}\n", highlight=False, markup=False)
    console.print("[bold]Examples[/]")
    console.print(f"{examples.rstrip()}\n", highlight=False, markup=False)
    console.print("[bold]Choices[/] (group=option)")
    for group, options in groups().items():
        if group == "sweep" and "search_space" not in section.model_fields:
            continue
        plus = "+" if group == "sweep" else ""
        console.print(f"  {plus}{group}=", escape(" | ".join(options)), sep="", highlight=False)
    console.print("\n[bold]Settings[/] (name=value)")
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 2), expand=False)
    rows = list(_settings(section, prefix))
    # On a narrow terminal the meaning wraps; the name of a setting is never cut.
    table.add_column(no_wrap=True, style="cyan", min_width=max(len(path) for path, _, _ in rows))
    table.add_column(no_wrap=True, style="dim", max_width=12, overflow="ellipsis")
    table.add_column(overflow="fold")
    for path, default, meaning in rows:
        table.add_row(escape(path), escape(default), escape(meaning))
    console.print(table)
    console.print("\n[bold]Flags[/]\n  --help, -h\n  --cfg job    print the configuration and stop")
    codes = ", ".join(f"{code.value} {code.name.lower().replace('_', ' ')}" for code in ExitCode)
    console.print(f"\n[bold]Exit codes[/]\n  {codes}", highlight=False)


def _settings(section: type[Section], prefix: str) -> Iterator[tuple[str, str, str]]:
    for name, field in section.model_fields.items():
        path = f"{prefix}{name}"
        if path in _OPEN_SECTIONS and field.annotation is not InputSection:
            for option, chosen in _OPEN_SECTIONS[path].items():
                yield "", "", ""
                yield f"{path}={option}", "", _first_line(chosen.__doc__)
                yield from (
                    row for row in _settings(chosen, f"{path}.") if row[0] != f"{path}.name"
                )
        elif isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from _settings(field.annotation, f"{path}.")
        else:
            yield path, _default(field), " ".join((field.description or "").split())


def _default(field: FieldInfo) -> str:
    default = field.get_default(call_default_factory=True)
    if default is PydanticUndefined:
        return "(required)"
    if isinstance(default, tuple):
        default = list(default)
    return (
        "null"
        if default is None
        else str(default).lower()
        if isinstance(default, bool)
        else str(default)
    )


def _first_line(doc: str | None) -> str:
    return (doc or "").strip().partition("\n")[0]
