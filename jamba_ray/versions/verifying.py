"""Verifies all that a registry holds: logs, roles, every byte of every version, signatures."""

from __future__ import annotations

from dataclasses import dataclass

from jamba_ray.errors import RegistryError
from jamba_ray.versions.log_entries import line_digest
from jamba_ray.versions.model_log import known_log, model_names
from jamba_ray.versions.opening import UNSIGNED, find_version
from jamba_ray.versions.place import Place


@dataclass(frozen=True)
class Verified:
    """Holds what was verified of one model."""

    words: str


def verified(place: Place, name: str | None, head: str | None) -> list[Verified]:
    """Verifies one model, or all; returns what was found of each.

    Raises:
        RegistryError: The first thing that is not as it was written.
    """
    names = model_names(place) if name is None else [name]
    heads = set()
    found = []
    for model in names:
        log = known_log(place, model)
        log.refuse_unsigned()
        heads |= {line_digest(line) for line in log.log.lines}
        files = signatures = 0
        for number in log.numbers():
            version = find_version(log, number)
            for one in version.content.files:
                version.read(one)
                files += 1
            if log.in_force is not None:
                from jamba_ray.versions.signing import check_model_signatures

                signatures += check_model_signatures(version, log.in_force)
        words = (
            f"{model}: {len(log.numbers())} versions with {files} files and "
            f"{len(log.log.entries)} entries are as they were written"
        )
        if log.in_force is None:
            words += f". {UNSIGNED}"
        else:
            people = ", ".join(one.name for one in log.in_force.people.values())
            words += f"; entries are signed under the roles of {people}"
            words += f", and {signatures} signatures of models hold." if signatures else "."
        found.append(Verified(f"{words} Its last entry is {log.log.head}"))
    if head is not None and head not in heads:
        raise RegistryError(
            f"{place} must have the entry {head} in its log, but has not: it was put back to an "
            "older state, or that was of another registry. Restore it from a newer copy."
        )
    return found
