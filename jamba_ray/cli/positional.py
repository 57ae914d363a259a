"""Converts arguments without a name into settings: ``predict runs/x new.csv -o scored.csv``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from jamba_ray.config.command_line import override
from jamba_ray.errors import ConfigError

_SETTING = re.compile(r"[+~]{0,2}[A-Za-z_][A-Za-z0-9_.@]*(=.*)?", re.DOTALL)


def as_settings(
    arguments: Sequence[str], positional: Sequence[str], short: Mapping[str, str]
) -> list[str]:
    """Converts words without a name to ``name=value``.

    The first word sets ``positional[0]`` and so on; the word after a flag of ``short`` sets the
    setting of that flag.

    Raises:
        ConfigError: There are more words than settings, or no word follows a flag.
    """
    written: list[str] = []
    free = list(positional)
    words = iter(arguments)
    for word in words:
        if word in short:
            value = next(words, None)
            if value is None:
                raise ConfigError([f"`{word}` must be followed by a value, but ends the line."])
            written.append(override(short[word], value))
        elif _is_setting(word):
            written.append(word)
        elif free:
            written.append(override(free.pop(0), word))
        else:
            names = " and ".join(f"`{name}`" for name in positional)
            raise ConfigError(
                [
                    f"`{word}` is one word too many: words without a name are {names}. Write "
                    f"`name={word}` if it is another setting."
                    if positional
                    else f"`{word}` cannot be read as `name=value`."
                ]
            )
    return written


def _is_setting(word: str) -> bool:
    found = _SETTING.fullmatch(word)
    return found is not None and (found[1] is not None or word.startswith("~"))
