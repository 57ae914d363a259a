"""Names: which may become paths, and which known one a typo probably meant."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from os.path import expanduser
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator

LocalPath = Annotated[str, AfterValidator(expanduser)]
"""A path of this machine, or something else that does not begin with ``~``: a name, a bucket."""
DEFAULT_REGISTRY = "models/registry"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def run_name(value: str) -> str:
    """Returns ``value`` if it is safe as the name of a file or folder.

    Raises:
        ValueError: It is not.
    """
    if not _NAME.fullmatch(value):
        raise ValueError(
            "a name must be 1-64 letters, digits, '.', '_' or '-' and begin with a letter or "
            f"digit, but is {value!r}. Choose a plain name such as 'nsl-kdd-1'"
        )
    return value


def as_list(value: object) -> object:
    """Returns a text as a list of it alone; anything else as it is."""
    return [value] if isinstance(value, str) else value


Plugins = Annotated[tuple[str, ...], BeforeValidator(as_list)]
"""Names of modules, each with its version and digest once it is imported."""


def number_as_text(value: object) -> object:
    """Returns a number as the text that it was written as; anything else as it is."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


_ABBREVIATIONS = {
    "lr": "learning_rate",
    "bs": "batch_size",
    "wd": "weight_decay",
    "dropout": "dropout_rate",
    "heads": "n_heads",
    "layers": "feature_layers",
    "trials": "n_trials",
    "label": "target",
}


def nearest(value: str, known: Iterable[str]) -> str:
    """Suggests the known name closest to ``value``; returns an empty string where none is close.

    Dotted names are compared by their last part too, so that ``model.drop`` finds
    ``training.drop`` and a missing prefix is forgiven.
    """
    names = list(known)
    last = value.rpartition(".")[2]
    by_last = {name.rpartition(".")[2]: name for name in reversed(names)}
    if (full := _ABBREVIATIONS.get(last)) in by_last:
        return f". Did you mean `{by_last[str(full)]}`?"
    close = difflib.get_close_matches(last, list(by_last), n=1, cutoff=0.7)
    if close:
        return f". Did you mean `{by_last[close[0]]}`?"
    close = difflib.get_close_matches(value, names, n=1, cutoff=0.7)
    return f". Did you mean `{close[0]}`?" if close else ""
