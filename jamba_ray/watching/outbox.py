"""Keeps messages until they are sent: at least once, whatever breaks, and never without a trace.

A message is a file in ``outbox/`` before anything is sent, and is removed after a channel has taken
it. What a channel refuses for good, or has not taken for ``GIVE_UP_S``, goes to ``dead_letters/``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from jamba_ray.config.alert_rules import ChannelSection, RulesSection
from jamba_ray.errors import ConfigError
from jamba_ray.runs.file_writes import write_json
from jamba_ray.watching.alerts import Message, decide
from jamba_ray.watching.channels import NotSentError, send

GIVE_UP_S = 7 * 86_400.0
FIRST_WAIT_S, MOST_WAIT_S = 60.0, 6 * 3_600.0
STATE = "alerts.json"
Send = Callable[[ChannelSection, list[Message], str], None]


def tell(
    rules: RulesSection,
    report: Mapping[str, Any],
    folder: Path,
    now_s: float,
    sender: Send = send,
) -> list[str]:
    """Decides what to tell of a window, keeps it, and sends what is due; returns sentences on what
    could not be sent.

    The messages are kept before the state that says so: a crash between makes them again, under the
    same names.
    """
    outbox = folder / "outbox"
    outbox.mkdir(exist_ok=True)
    messages, state = decide(rules, report, _state(folder), now_s)
    for message in messages:
        path = outbox / f"{message.key}.json"
        if not path.exists():
            write_json(path, {"message": message.to_json(), "tries": 0, "next_s": now_s})
    write_json(folder / STATE, state)
    return [*_sent(rules, folder, now_s, sender)]


def _sent(rules: RulesSection, folder: Path, now_s: float, sender: Send) -> Iterator[str]:
    for path in sorted((folder / "outbox").glob("*.json")):
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            message = Message(**kept["message"])
            tries, next_s = int(kept["tries"]), float(kept["next_s"])
        except (OSError, ValueError, KeyError, TypeError):
            _bury(folder, path)
            yield f"A message that cannot be read was moved to {folder / 'dead_letters'}."
            continue
        if next_s > now_s:
            continue
        channel = rules.channels.get(message.channel)
        try:
            if channel is None:
                raise NotSentError("the rules have no such channel", is_final=True)
            sender(channel, [message], message.key)
        except (NotSentError, ConfigError) as error:
            why = error.why if isinstance(error, NotSentError) else error.message
            final = isinstance(error, NotSentError) and error.is_final
            if final or now_s - message.now_s > GIVE_UP_S:
                _bury(folder, path)
                yield (
                    f"The channel {message.channel!r} did not take a message: {why}. It is in "
                    f"{folder / 'dead_letters'}."
                )
                continue
            wait = min(FIRST_WAIT_S * 2.0**tries, MOST_WAIT_S)
            write_json(path, {**kept, "tries": tries + 1, "next_s": now_s + wait})
            yield (
                f"The channel {message.channel!r} did not take a message: {why}. It is tried again "
                f"by the next watch after {wait:.0f} s."
            )
            continue
        path.unlink(missing_ok=True)


def _bury(folder: Path, path: Path) -> None:
    dead = folder / "dead_letters"
    dead.mkdir(exist_ok=True)
    path.replace(dead / path.name)


def _state(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / STATE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
