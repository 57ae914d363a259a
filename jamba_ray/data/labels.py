"""Reads the 0/1 target of a table, and decides which of its values mean a threat."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from jamba_ray.config.command_line import setting
from jamba_ray.config.data import label_name
from jamba_ray.config.names import nearest
from jamba_ray.errors import DataError

IN_DOCUMENT = "labels"
"""The key under which a preprocessing document holds the rule for labels, if there is one."""
_BENIGN = {"benign", "normal", "legitimate", "legit", "clean", "goodware", "ham"}
_THREAT = {
    "malicious", "malware", "attack", "anomaly", "anomalous", "abnormal", "threat", "fraud",
    "fraudulent", "phishing", "spam", "intrusion",
}  # fmt: skip
_PAIRS = {"no": "yes", "n": "y", "false": "true", "f": "t", "-1": "1", "negative": "positive"}
"""Values that are plain only together: the benign one and the threat."""
_NUMBERS = {"0": 0.0, "1": 1.0, "false": 0.0, "true": 1.0}


@dataclass(frozen=True)
class LabelRule:
    """Says which values of a label column are benign and which are threats.

    Values are compared without case and outer spaces; ``80``, ``80.0`` and ``"80"`` are one, and a
    missing cell is the value ``""``.
    """

    benign: tuple[str, ...]
    threat: tuple[str, ...]
    rest: float | None
    """What every other value is: 0.0, 1.0, or None: it is refused."""
    is_asked: bool = False
    """Whether the user gave it, with ``data.positive`` or ``data.negative``."""

    def of(self, value: str) -> float | None:
        """Returns 0.0 or 1.0 for a value's name, None where the rule does not say."""
        folded = _folded(value)
        if folded in map(_folded, self.threat):
            return 1.0
        return 0.0 if folded in map(_folded, self.benign) else self.rest

    def to_json(self) -> dict[str, Any]:
        """Returns strict JSON."""
        return {
            "benign": list(self.benign),
            "threat": list(self.threat),
            "rest": self.rest,
            "is_asked": self.is_asked,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> LabelRule:
        """Makes a rule from what ``to_json`` returned."""
        return cls(tuple(value["benign"]), tuple(value["threat"]), value["rest"], value["is_asked"])


def asked_rule(positive: Sequence[str], negative: Sequence[str]) -> LabelRule | None:
    """Returns the rule that ``data.positive`` and ``data.negative`` give; None without any."""
    if not positive and not negative:
        return None
    rest = None if positive and negative else 0.0 if positive else 1.0
    return LabelRule(tuple(negative), tuple(positive), rest, is_asked=True)


def plain_rule(values: Sequence[str]) -> LabelRule | None:
    """Returns the rule that the distinct values of a column suggest, or None where they suggest
    none.

    So it is for a benign word beside a threat word, for pairs such as yes and no or -1 and 1, and
    for a benign word beside other words (names of attacks).
    """
    named = [value for value in values if value]
    benign = tuple(value for value in named if _word(value) in _BENIGN)
    threat = tuple(value for value in named if _word(value) in _THREAT)
    others = [value for value in named if value not in benign and value not in threat]
    if len(named) < len(values):
        return None
    if not others and (benign or threat):
        return LabelRule(benign, threat, None)
    if benign and not any(_is_number(value) for value in others):
        return LabelRule(benign, (), 1.0)
    words = {_word(value): value for value in named}
    for no, yes in _PAIRS.items():
        if set(words) == {no, yes}:
            return LabelRule((words[no],), (words[yes],), None)
    return None


def labels(
    frame: pd.DataFrame, target: str, rule: LabelRule | None = None, *, source: str = "the data"
) -> npt.NDArray[np.float32]:
    """Returns the target column as [N] of 0.0 and 1.0, by ``rule`` where there is one.

    Booleans, 0/1 in any numeric type and the words ``0 1 true false`` (any case) are understood
    without one. Raises DataError, naming ``source``, where the column is missing, or a value is
    not understood.
    """
    return labels_and_rule(frame, target, rule, source=source)[0]


def labels_and_rule(
    frame: pd.DataFrame,
    target: str,
    rule: LabelRule | None,
    *,
    source: str = "the data",
    is_test: bool = False,
) -> tuple[npt.NDArray[np.float32], LabelRule | None]:
    """Returns ``labels`` and the rule by which they were read; None for those that need none.

    A rule that was learnt from other rows gives way where it does not know the values: to plain
    0 and 1, then to what the values themselves suggest. The values that a user named must occur,
    except in a test (``is_test``), where only those are refused that look misspelt.
    """
    if target not in frame.columns:
        guess = nearest(target, map(str, frame.columns)) or f" among its {len(frame.columns)}."
        raise DataError(
            f"{source} must have the target column {target!r}, but has no such column{guess} "
            "Set data.target=<column>."
        )
    # Few distinct values, so the rules are applied to those and not to every row.
    codes, distinct = pd.factorize(frame[target], use_na_sentinel=True)
    names = [label_name(value) for value in distinct]
    counts = Counter(dict(enumerate(np.bincount(codes[codes >= 0], minlength=len(names)).tolist())))
    n_missing = int((codes < 0).sum())
    blank = [i for i, name in enumerate(names) if not name]
    n_missing += sum(counts[i] for i in blank)
    present = Counter[str]()
    for i, name in enumerate(names):
        present[name] += counts[i] if name else 0
    del present[""]
    if n_missing and (rule is None or "" not in (*rule.benign, *rule.threat)):
        raise DataError(
            f"every row must have a label, but {n_missing} of {len(frame)} rows of {source} have "
            f"none in {target!r}; label them or remove them, or say what they are with "
            "data.negative=[''] or data.positive=['']."
        )
    if rule is not None and rule.is_asked:
        _check_asked(rule, present, target, source, is_test)
    used = _rule_for(list(present), rule)
    of_name = {name: _label(name, used) for name in present}
    unknown = {name: present[name] for name, label in of_name.items() if label is None}
    if unknown:
        raise DataError(_unknown(unknown, present, target, source, used, len(frame)))
    of_name[""] = _label("", used)
    of_code = np.array([of_name[name] for name in names] + [of_name[""]], dtype=np.float32)
    return of_code[codes], used


def rule_note(rule: LabelRule | None, target: str) -> str:
    """Says how labels were read; an empty string where they were 0 and 1."""
    if rule is None:
        return ""
    threat = _quoted(rule.threat) if rule.threat else "every other value"
    benign = _quoted(rule.benign) if rule.benign else "every other value"
    change = "" if rule.is_asked else "; data.positive or data.negative changes that"
    return f"In {target!r}, {benign} is benign and {threat} a threat{change}."


def check_both_labels(y: npt.NDArray[np.float32], part: str) -> None:
    """Checks that ``part`` holds benign rows and threats.

    Raises:
        DataError: It does not.
    """
    threats = int(y.sum())
    if threats in (0, len(y)):
        kind = "threats" if threats else "benign rows"
        found = f"all of its rows ({len(y):,}) are {kind}" if len(y) else "no row is left for it"
        raise DataError(
            f"{part} must hold benign rows and threats, but {found}; check the target column, the "
            "number of rows and the split."
        )


def _check_asked(
    rule: LabelRule, present: Mapping[str, int], target: str, source: str, is_test: bool
) -> None:
    """Refuses values that do not occur: a misspelt one would turn threats into benign rows."""
    known = [_folded(value) for value in present]
    asked = [_folded(value) for value in (*rule.benign, *rule.threat)]
    others = [value for value in present if _folded(value) not in asked]
    for option, values in (("data.negative", rule.benign), ("data.positive", rule.threat)):
        for value in values:
            guess = nearest(value, others)
            if value and _folded(value) not in known and (guess or not is_test):
                raise DataError(
                    f"{option} must name values of {target!r}, but {source} has no {value!r} there"
                    f"{guess or f'; it has {_listed(present)}.'}"
                )


def _rule_for(values: Sequence[str], rule: LabelRule | None) -> LabelRule | None:
    if rule is not None and (rule.is_asked or not _are_numbers(values)):
        if rule.is_asked or all(rule.of(value) is not None for value in values):
            return rule
        return plain_rule(values) or rule
    return None if _are_numbers(values) else plain_rule(values)


def _are_numbers(values: Sequence[str]) -> bool:
    return all(value in _NUMBERS for value in values)


def _label(name: str, rule: LabelRule | None) -> float | None:
    return _NUMBERS.get(name) if rule is None else rule.of(name)


def _unknown(
    unknown: Mapping[str, int],
    present: Mapping[str, int],
    target: str,
    source: str,
    rule: LabelRule | None,
    n_rows: int,
) -> str:
    """Returns the sentence on values of which nothing says whether they are threats."""
    rows = sum(unknown.values())
    if rule is not None and (rule.is_asked or len(unknown) < len(present)):
        example = next(iter(unknown))
        return (
            f"each value of the target {target!r} must be known to be benign or a threat, but "
            f"{rows} of {n_rows} rows of {source} hold {_listed(unknown)}; add such values to "
            f"data.negative or data.positive, for example {setting('data.positive', [example])}."
        )
    if len(present) > 100:
        return (
            f"the target {target!r} must be 0 or 1 in every row, but {source} holds "
            f"{len(present)} different values such as {next(iter(unknown))[:40]!r}; map them to 0 "
            "(benign) and 1 (threat), or set data.target to another column."
        )
    most = max(present, key=lambda value: present[value])
    return (
        f"the target {target!r} must be 0 or 1 in every row, but {rows} of {n_rows} rows of "
        f"{source} hold other values; it has {_listed(present)}; say which are benign, for example "
        f"{setting('data.negative', [most])}, or which are threats with data.positive=[...]."
    )


def _listed(values: Mapping[str, int], at_most: int = 6) -> str:
    first = sorted(values, key=lambda value: -values[value])[:at_most]
    more = f" and {len(values) - at_most} more" if len(values) > at_most else ""
    return ", ".join(f"{value[:40]!r} ({values[value]} rows)" for value in first) + more


def _quoted(values: Sequence[str], at_most: int = 6) -> str:
    more = f" and {len(values) - at_most} more" if len(values) > at_most else ""
    return ", ".join(repr(value) for value in values[:at_most]) + more


def _word(value: str) -> str:
    word = _folded(value).rstrip(".")
    for end in ("traffic", "flow"):
        word = word.removesuffix(end).rstrip(" _-")
    return word


def _folded(value: str) -> str:
    return value.strip().casefold()


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True
