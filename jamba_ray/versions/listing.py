"""Says what a registry holds and what was done to it, for people."""

from __future__ import annotations

from typing import Any

from jamba_ray.versions.log_entries import Entry, aliases_at
from jamba_ray.versions.model_log import known_log, model_names
from jamba_ray.versions.opening import find_version
from jamba_ray.versions.place import Place

Row = tuple[Any, ...]


def listed(place: Place, name: str | None) -> list[Row]:
    """Returns a row for each version: model, number, aliases, when, who, run, exports, signers."""
    rows: list[Row] = []
    for model in model_names(place) if name is None else [name]:
        log = known_log(place, model)
        points = log.log.aliases
        for entry in log.log.entries:
            if entry.action != "register" or entry.version is None:
                continue
            at = [alias for alias, number in points.items() if number == entry.version]
            content = find_version(log, entry.version).content
            signers = [
                one.by
                for one in log.log.entries
                if one.action == "sign" and one.version == entry.version
            ]
            rows.append(
                (
                    model,
                    entry.version,
                    ", ".join(sorted(at)),
                    entry.at[:16].replace("T", " "),
                    entry.by,
                    content.facts.get("source", ""),
                    ", ".join(sorted(content.exports)),
                    ", ".join(dict.fromkeys(signers)),
                )
            )
    return rows


def held_at(place: Place, name: str, at: str) -> dict[str, int]:
    """Returns alias -> version at a day (its end) or a time, in UTC."""
    log = known_log(place, name)
    moment = at.replace(" ", "T")
    # Times are texts of one form, and '~' comes after every character of one.
    return aliases_at(log.log.entries, f"{moment}~")


def history(place: Place, name: str) -> list[Row]:
    """Returns a row for each entry: number, when, who, what, why, gates."""
    log = known_log(place, name)
    return [_row(entry) for entry in log.log.entries]


def _row(entry: Entry) -> Row:
    what: str = entry.action
    if entry.version is not None:
        what += f" version {entry.version}"
    if entry.alias is not None:
        what += f" as {entry.alias}"
    if entry.force is not None:
        what += f", forced: {entry.force}"
    refused = [str(gate["name"]) for gate in entry.gates if not gate["passes"]]
    gates = f"refused by {', '.join(refused)}" if refused else "passed" if entry.gates else ""
    signed = "" if entry.signature is not None else " (unsigned)"
    at = entry.at[:19].replace("T", " ")
    return (entry.number, at, f"{entry.by}{signed}", what, entry.why, gates)
