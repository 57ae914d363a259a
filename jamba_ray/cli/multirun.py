"""Converts Hydra's ``--multirun`` into the sweep that does the same.

That sweep trains every combination of values to its end.
"""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Sequence
from typing import Any

from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep

from jamba_ray.cli.overrides import parsed
from jamba_ray.config.command_line import command, override

_MAX_VALUES = 1000
_GROUPS = {"model": "model.name"}
"""Config group -> the setting by which a search space varies its option."""


def answer(flag: str, words: Sequence[str], name: str) -> str:
    """Returns the sentence for ``flag`` (``-m``, ``--multirun``) before the words of ``name``."""
    if name not in ("sweep", "train", "submit"):
        return f"`{flag}` is refused: `{name}` does one thing at a time. Call it for each value."
    same = same_sweep(words, "submit" if name == "submit" else "sweep")
    if same is None:
        return (
            f"`{flag}` is refused: a sweep schedules its own trials. Say which values a setting "
            "has, as in `jamba-ray sweep --multirun training.learning_rate=0.001,0.01`, and the "
            "answer is the sweep that tries them."
        )
    return f"`{flag}` is refused: a sweep schedules its own trials. This one does the same: {same}"


def same_sweep(words: Sequence[str], name: str = "sweep") -> str | None:
    """Returns the command line of the sweep that tries all values that ``words`` give to Hydra.

    None: there are none that a search space can vary.
    """
    kept: list[str] = []
    space: list[str] = []
    n_trials, is_grid = 1, True
    for word in words:
        found = parsed(word)
        if found is None or not found.is_sweep_override():
            kept.append(word)
            continue
        leaf = leaf_of(found)
        key = found.key_or_group
        if leaf is None or key == "data" or key.startswith("data."):
            return None
        space.append(override(f"search_space.{_GROUPS.get(key, key)}", leaf))
        is_grid = is_grid and "choices" in leaf
        n_trials *= len(leaf.get("choices", ()))
    if not space:
        return None
    how = ["pruner.name=none"]
    if is_grid:
        how += ["sampler.name=grid", f"n_trials={n_trials}"]
    return command(name, *kept, *space, *how)


def leaf_of(found: Override) -> dict[str, Any] | None:
    """Returns the leaf of a search space for values in Hydra's sweep syntax.

    Known are ``x=1,2``, ``x=choice(1,2)``, ``x=range(1,4)`` and ``x=interval(0,1)``; None for
    anything else (``glob``).
    """
    value: Any = found.value()
    if isinstance(value, ChoiceSweep):
        return _choices([_plain(one) for one in value.list])
    if isinstance(value, RangeSweep):
        return _choices(list(itertools.islice(iter(value.range()), _MAX_VALUES + 1)))
    if isinstance(value, IntervalSweep):
        return {"type": "float", "low": value.start, "high": value.end}
    return None


def _choices(values: list[Any]) -> dict[str, Any] | None:
    fits = len(values) <= _MAX_VALUES and all(
        isinstance(one, str | bool | int | float) for one in values
    )
    return {"type": "categorical", "choices": values} if fits else None


def concrete(found: Override) -> str:
    """Returns the setting of a search space that tries the values of ``found``, for a shell."""
    leaf = leaf_of(found) or {"type": "categorical", "choices": ["..."]}
    key = found.key_or_group
    return shlex.quote(override(f"search_space.{_GROUPS.get(key, key)}", leaf))


def _plain(value: Any) -> Any:
    """Returns a value without Hydra's record of its quotes."""
    text = getattr(value, "text", None)
    return text if isinstance(text, str) else value
