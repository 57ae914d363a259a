"""Decides which messages a window gives rise to, from its findings and what was told before.

Pure. A finding *fires* when ``after`` windows in a row have it, and is over when ``clear`` windows
in a row have not, so that one that comes and goes is told once (hysteresis).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from jamba_ray.config.alert_rules import RulesSection
from jamba_ray.config.watch import seconds_of
from jamba_ray.watching.findings import SEVERITIES

State = Mapping[str, Any]
"""``window`` (the last one), and ``findings``: rule and key -> what is known of it."""


@dataclass(frozen=True)
class Message:
    """Holds one message to one channel."""

    key: str
    """The same for the same message: what arrives twice can be told."""
    channel: str
    finding: str
    severity: str
    sentence: str
    is_over: bool
    model: str
    since_s: float
    now_s: float

    def to_json(self) -> dict[str, Any]:
        """Returns strict JSON."""
        return dict(self.__dict__)


def decide(
    rules: RulesSection, report: Mapping[str, Any], before: State, now_s: float
) -> tuple[list[Message], dict[str, Any]]:
    """Returns the messages of a window (``watch.json``), and the state for the next one.

    The same window again gives no message.
    """
    window, model = str(report["window"]["id"]), str(report["model"])
    if before.get("window") == window:
        return [], dict(before)
    seen = {one["key"]: one for one in report["findings"]}
    had: Mapping[str, Any] = before.get("findings", {})
    messages: list[Message] = []
    state: dict[str, Any] = {}
    for i, rule in enumerate(rules.rules):
        grave = {
            key: one
            for key, one in seen.items()
            if fnmatchcase(key, rule.match)
            and SEVERITIES.index(one["severity"]) >= SEVERITIES.index(rule.severity)
        }
        known = [name.partition("|")[2] for name in had if name.startswith(f"{i}|")]
        for key in dict.fromkeys([*grave, *known]):
            old = had.get(f"{i}|{key}", {"seen": 0, "clear": 0, "firing": False})
            new = dict(old)
            if (one := grave.get(key)) is not None:
                new |= {"seen": old["seen"] + 1, "clear": 0, "severity": one["severity"]}
                new["sentence"] = one["sentence"]
            else:
                new |= {"seen": 0, "clear": old["clear"] + 1}
            if any(silence.silences(key, now_s) for silence in rules.silences):
                state[f"{i}|{key}"] = new
                continue
            told = _told(new, rule.after, rule.clear, rule.repeat, now_s)
            if told is not None:
                new |= {"firing": not told, "told_s": now_s}
                new["since_s"] = old.get("since_s") if old["firing"] else now_s
                messages += [
                    Message(
                        _key(model, window, i, key, channel, told),
                        channel,
                        key,
                        str(new["severity"]),
                        str(new["sentence"]),
                        told,
                        model,
                        float(new["since_s"] or now_s),
                        now_s,
                    )
                    for channel in rule.to
                ]
            if new["firing"] or new["seen"]:
                state[f"{i}|{key}"] = new
    return messages, {"window": window, "findings": state}


def _told(
    one: Mapping[str, Any], after: int, clear: int, repeat: str | None, now_s: float
) -> bool | None:
    """Returns False where it is to be told that it fires, True that it is over, None: nothing."""
    if not one["firing"]:
        return False if one["seen"] >= after else None
    if one["clear"] >= clear:
        return True
    due = repeat is not None and now_s - float(one.get("told_s", 0.0)) >= seconds_of(repeat)
    return False if due and one["seen"] else None


def _key(model: str, window: str, rule: int, key: str, channel: str, is_over: bool) -> str:
    text = "\x1f".join([model, window, str(rule), key, channel, str(is_over)])
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def text_of(messages: Sequence[Message]) -> str:
    """Returns the messages to a channel as plain text."""
    lines = [
        f"{'over' if one.is_over else one.severity}: {one.sentence} [{one.finding}]"
        for one in messages
    ]
    return "\n".join([f"jamba-ray watch, {messages[0].model}:", *lines])
