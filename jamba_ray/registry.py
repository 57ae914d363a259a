"""Keeps models as versions that never change: ``jamba-ray registry``."""

from __future__ import annotations

import sys

from jamba_ray.cli.commands import REGISTRY as COMMAND

# Above the other imports, which take seconds: help and mistakes need none of them.
if __name__ == "__main__":
    sys.exit(COMMAND.main())

import importlib
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from jamba_ray.cli.entry import say
from jamba_ray.cli.phases import Phases
from jamba_ray.config.command_line import command, given, override
from jamba_ray.config.export import FORMATS, MAX_BYTES, ExportConfig
from jamba_ray.config.registry import RegistryConfig
from jamba_ray.errors import ConfigError, ExitCode
from jamba_ray.exports.files import read_file
from jamba_ray.exports.subject import Limits, Subject, check_installed, rows_at, subject_of
from jamba_ray.inference.predictor import read_model
from jamba_ray.runs.rows_of_run import labelled_rows, real_rows
from jamba_ray.versions import actions, gates, listing
from jamba_ray.versions.content import Export
from jamba_ray.versions.keys import SigningKey
from jamba_ray.versions.loading import local_path
from jamba_ray.versions.opening import UNSIGNED
from jamba_ray.versions.place import Place, place_of
from jamba_ray.versions.source import read_source
from jamba_ray.versions.verifying import verified

_ROWS = 20_000
"""Rows of data that exports are compared on at most."""


def run(config: RegistryConfig, console: Console) -> ExitCode:
    """Does what ``action`` says."""
    place = place_of(config.registry)
    steps: dict[str, Callable[[RegistryConfig, Place, Console], None]] = {
        "register": _register,
        "promote": _promote,
        "rollback": _rollback,
        "list": _list,
        "history": _history,
        "verify": _verify,
        "sign": _sign,
        "roles": _roles,
    }
    steps[config.action](config, place, console)
    return ExitCode.OK


def _key(config: RegistryConfig) -> SigningKey | None:
    return None if config.key is None else SigningKey(config.key)


def _register(config: RegistryConfig, place: Place, console: Console) -> None:
    key, name = _key(config), str(config.name)
    run = local_path(str(config.run), config.registry)
    with Phases(console) as phases:
        phases.begin("reading the model", is_brief=True)
        source = read_source(run)
        subject = _subject(config, run, console, phases)
        phases.begin("writing and comparing exports")
        made = _exports(config, subject, console)
        phases.begin("adding the version", is_brief=True)
        entry = actions.register(
            place, name, source, subject.saved, made, config.licence, config.why, key
        )
    say(console, f"{name}@{entry.version} is registered in {place}, by {entry.by}.")
    for one in made:
        say(console, f"  {one.format}: proven on {one.words}.")
    if entry.roles is None:
        say(console, f"  {UNSIGNED}")
    again = [*_where(config), override("version", entry.version)]
    say(console, f"next: {command('registry', 'promote', *again)}")


def _where(config: RegistryConfig) -> list[str]:
    """Returns the settings that name the model, for a command that may follow."""
    return given(config, "name", "registry", "key")


def _subject(config: RegistryConfig, run: str, console: Console, phases: Phases) -> Subject:
    saved = read_model(run)
    preprocessing = saved.predictor().preprocessing
    phases.begin("reading rows to compare on")
    real: pd.DataFrame | None
    if config.data.path is not None:
        real = rows_at(config.data.path, config.data.columns, preprocessing, _ROWS)
    else:
        real = real_rows(run, preprocessing, _ROWS, partial(say, console))
    subject = subject_of(saved, real)
    if "gguf" in config.formats:
        subject = replace(subject, labelled=labelled_rows(run, saved))
    return subject


def _exports(config: RegistryConfig, subject: Subject, console: Console) -> list[Export]:
    """Makes the files that are asked for, and proves those that are given."""
    asked = "formats" in config.model_fields_set
    made = []
    for kind in config.formats:
        try:
            made.append(Export(kind, *_body(kind).exported(subject, *_more(kind))))
        except ConfigError as error:
            if asked:
                raise
            say(console, f"No {kind} file is made: {error.message.rstrip('.')}.")
    for path in config.exports:
        given = Path(path).suffix.removeprefix(".")
        if given not in FORMATS:
            raise ConfigError(
                [
                    f"`exports` must be files of `jamba-ray export` ({', '.join(FORMATS)}), but "
                    f"has {path!r}. Give them with their names as they were written."
                ]
            )
        raw = read_file(path, MAX_BYTES, "exports")
        limits = _more(given)[-1:]
        made.append(Export(given, raw, _body(given).verified(subject, raw, *limits)))
    return made


def _body(kind: str) -> Any:
    needed = {"onnx": ("onnx", "onnxruntime"), "gguf": ("gguf",)}.get(kind, ())
    check_installed(f"`formats=[{kind}]`", dict.fromkeys(needed, "export"))
    return importlib.import_module(f"jamba_ray.exports.{kind}_export")


def _more(kind: str) -> tuple[Any, ...]:
    """Returns what only one format takes: its quantisation, and what that may cost."""
    if kind != "gguf":
        return ()
    fields = ExportConfig.model_fields
    limits = Limits(fields["max_flip_rate"].default, fields["max_loss"].default)
    return fields["quantization"].default, limits


def _promote(config: RegistryConfig, place: Place, console: Console) -> None:
    key, name = _key(config), str(config.name)
    with Phases(console) as phases:
        phases.begin("verifying", is_brief=True)
        candidate = actions.candidate(place, name, config.version, config.alias)
        candidate.version.log.refuse_stranger("promote", key)
        phases.begin("judging the gates")
        found = gates.judged(candidate, config.gate, config.data, partial(say, console))
        phases.begin("promoting", is_brief=True)
        entry = actions.promote(candidate, found, config.force, config.why, key)
    for gate in found:
        say(console, f"  {gate.words}")
    was = candidate.held
    before = "" if candidate.champion is None else f" (it was {was})"
    say(console, f"{name}@{config.alias} is version {entry.version}{before}, by {entry.by}.")
    if entry.force is not None:
        say(console, f"  Forced, which the log keeps: {entry.force}")
    if entry.roles is None:
        say(console, f"  {UNSIGNED}")
    if candidate.champion is not None:
        words = [*_where(config), override("alias", config.alias)]
        say(console, f"to undo it: {command('registry', 'rollback', *words)}")


def _rollback(config: RegistryConfig, place: Place, console: Console) -> None:
    name = str(config.name)
    before, entry = actions.rollback(
        place, name, config.alias, config.version, config.why, _key(config)
    )
    say(
        console,
        f"{name}@{config.alias} is version {entry.version} again (it was {before}), by "
        f"{entry.by}; every byte of it was verified.",
    )


def _list(config: RegistryConfig, place: Place, console: Console) -> None:
    rows = listing.listed(place, config.name)
    if not rows:
        say(console, f"{place} holds no model yet.")
        register = command("registry", "register", "run=runs/night-1", "name=threats")
        say(console, f"next: {register}")
        return
    _print(
        console,
        ("model", "version", "aliases", "registered", "by", "run", "exports", "signed"),
        rows,
    )


def _history(config: RegistryConfig, place: Place, console: Console) -> None:
    name = str(config.name)
    if config.at is not None:
        held = listing.held_at(place, name, config.at)
        listed = ", ".join(f"{alias} was version {n}" for alias, n in sorted(held.items()))
        say(console, f"At {config.at} (UTC) of {name}: {listed or 'no alias pointed at anything'}.")
        return
    head = ("entry", "when (UTC)", "who", "what", "why", "gates")
    _print(console, head, listing.history(place, name))


def _verify(config: RegistryConfig, place: Place, console: Console) -> None:
    with Phases(console) as phases:
        phases.begin("verifying")
        found = verified(place, config.name, config.head)
    for one in found:
        say(console, one.words)
    if not found:
        say(console, f"{place} holds no model yet.")


def _sign(config: RegistryConfig, place: Place, console: Console) -> None:
    key = _key(config)
    assert key is not None
    entry, path = actions.sign(place, str(config.name), config.version, config.why, key)
    say(console, f"{config.name}@{entry.version} is signed by {entry.by}: {path}.")


def _roles(config: RegistryConfig, place: Place, console: Console) -> None:
    key = _key(config)
    assert key is not None
    entry, people = actions.put_roles_in_force(place, str(config.name), config.why, key)
    say(console, f"The roles of {config.name} are in force, by {entry.by}:")
    for person in people:
        say(console, f"  {person.name} may {', '.join(person.may) or 'read'}")


def _print(console: Console, head: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in head:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(escape(str(cell)) for cell in row))
    console.print(table)
