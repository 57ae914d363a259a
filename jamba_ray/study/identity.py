"""Compares the settings and data of a resumed run with its first ones and names the changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jamba_ray.config import training_length
from jamba_ray.config.run import SweepConfig
from jamba_ray.config.section import absent_values
from jamba_ray.errors import ConfigError
from jamba_ray.study.settings import StudySettings

_ABSENT = absent_values(SweepConfig)
_SHOWN = 60
"""Characters of a value that are shown."""
_MOST = 12
"""Differences that are listed one by one."""


@dataclass(frozen=True)
class Change:
    """Holds one difference between a run as it was begun and as it is resumed."""

    what: str
    before: Any
    now: Any
    flag: str | None
    """The setting that accepts this change; None: no setting does."""

    @property
    def text(self) -> str:
        """Returns the change as text, such as ``training.epochs: 4.0 -> 8.0``."""
        return f"{self.what}: {_short(self.before)} -> {_short(self.now)}"


def identity(settings: StudySettings) -> dict[str, Any]:
    """Returns what the study stores to recognise its run later, as strict JSON."""
    return {
        "objective": settings.objective,
        "direction": settings.direction,
        "config_fingerprint": settings.config_fingerprint,
        "data_fingerprint": settings.data_fingerprint,
        "config": dict(settings.config),
        "data": dict(settings.data),
    }


def changes(known: Mapping[str, Any], mine: Mapping[str, Any]) -> list[Change]:
    """Returns the differences; empty where the fingerprints are equal."""
    found = [
        Change(name, known.get(name), mine[name], None)
        for name in ("objective", "direction")
        if known.get(name) != mine[name]
    ]
    for part, flag in (("config", "allow_config_change"), ("data", "allow_data_change")):
        name = f"{part}_fingerprint"
        if known.get(name) == mine[name]:
            continue
        before, now = ({**_ABSENT, **it.get(part, {})} for it in (known, mine))
        paths = [p for p in dict.fromkeys([*before, *now]) if before.get(p) != now.get(p)]
        # A changed objective also changes the configuration; it is listed once.
        own = [
            Change(p, before.get(p), now.get(p), _flag(p, before.get(p), now.get(p), flag))
            for p in paths
            if p != "objective"
        ]
        found += own
        if not own and not (part == "config" and found):
            found.append(Change(name, known.get(name), mine[name], flag))
    return found


def as_begun(config: SweepConfig, known: Mapping[str, Any]) -> SweepConfig:
    """Returns ``config`` with what is decided when a run begins: one that began without its
    defaults, with repeated rows anywhere, or with trials of a fixed length, as those of earlier
    versions did, goes on so.
    ``known``: see ``reading.begun_with``.
    """
    if not known:
        return config
    begun = known.get("config", {})
    training = training_length.as_begun(config.training, begun)
    config = config.model_copy(update={"training": training})
    if not begun.get("default_first", False):
        config = config.model_copy(update={"default_first": False})
    if "data.split.repeats" not in begun:
        split = config.data.split.model_copy(update={"repeats": "anywhere"})
        config = config.model_copy(update={"data": config.data.model_copy(update={"split": split})})
    return config


def accepted_changes(
    known: Mapping[str, Any], mine: Mapping[str, Any], settings: StudySettings
) -> list[Change]:
    """Returns the differences if the settings allow all of them.

    Raises:
        ConfigError: The settings do not allow some; it has a sentence for each difference.
    """
    allowed = {
        "allow_config_change": settings.allow_config_change,
        "allow_data_change": settings.allow_data_change,
    }
    found = changes(known, mine)
    refused = [c for c in found if c.flag is None or not allowed[c.flag]]
    mistakes = [_refusal(change) for change in refused[:_MOST]]
    if len(refused) > _MOST:
        mistakes.append(f"{len(refused) - _MOST} more settings differ.")
    if mistakes:
        raise ConfigError(mistakes)
    return found


def note(change: Change) -> str:
    """Returns an accepted change as a sentence for the summary."""
    return f"Changed on resume, so that earlier and later trials differ in it: {change.text}."


def _refusal(change: Change) -> str:
    way_out = (
        f"Set it back, accept it with `{change.flag}=true`, or choose another `run=`."
        if change.flag
        else "Set it back, or choose another `run=`."
    )
    return (
        f"`{change.what}` must be {_short(change.before)} as in the run being resumed, "
        f"but is {_short(change.now)}. {way_out}"
    )


def _flag(path: str, before: Any, now: Any, flag: str) -> str | None:
    if path.startswith("search_space.") and path.endswith((".choices", ".type")):
        # Optuna compares trials by the index of a choice: other choices are another parameter.
        return None if before is not None and now is not None else flag
    return "allow_data_change" if path.startswith("data.") else flag


def _short(value: Any) -> str:
    text = "unset" if value is None else repr(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
