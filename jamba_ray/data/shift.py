"""Decides what to say of rows that differ from those that train: one sentence each, with the
setting that mends it.

Pure: from what ``shift_check`` measured to findings. Each limit says what is worth a sentence; on
rows without any of it nothing is said (``tests/data/test_shift.py``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jamba_ray.config.command_line import setting

APART, SURELY_APART = 0.6, 0.55
"""ROC AUC of telling rows apart, and its lower bound, from which they differ."""
AS_MUCH = 0.1
"""Validation differs from training as much as the test does, up to this much of ROC AUC."""
OTHER_SHARE = 1.2
"""A share of threats that is so many times the other is another one."""
NEVER_SEEN = 0.01
"""Share of rows with something never seen, above what chance brings."""
NEAR = 0.05
"""Share of rows that nearly repeat a training row."""
FOLLOWS = 0.9
"""Rank correlation from which a column follows the order of the rows."""
_SHOWN = 4


@dataclass(frozen=True)
class Finding:
    """Holds one thing that a user should know of the rows."""

    kind: str
    """``shift``, ``drift``, ``prior``, ``unseen``, ``near``, ``leak``, ``time`` or ``group``."""
    sentence: str
    setting: str = ""
    """The setting that mends it; empty where there is none."""
    columns: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Returns strict JSON."""
        return {
            "kind": self.kind,
            "sentence": self.sentence,
            "setting": self.setting or None,
            "columns": list(self.columns),
        }


@dataclass(frozen=True)
class Apart:
    """Says how well the rows of a part are told from the older or the training rows."""

    part: str
    """``test``, the name of an extra test, ``val`` or ``newest``."""
    auc: float
    low: float
    high: float
    columns: tuple[str, ...] = ()
    """Those that give it away, the first most."""
    without: tuple[str, ...] = ()
    """Columns without which the rows are no longer told apart; empty where no few are."""

    @property
    def differs(self) -> bool:
        """Says whether the rows differ."""
        return self.auc >= APART and self.low >= SURELY_APART

    def to_json(self) -> dict[str, Any]:
        """Returns strict JSON."""
        interval = {"value": self.auc, "low": self.low, "high": self.high}
        return {"part": self.part, "roc_auc": interval, "columns": list(self.columns)}


@dataclass(frozen=True)
class Roles:
    """Says which settings are there to mend something with."""

    kind: str = "random"
    """How the rows are divided."""
    timestamp: str | None = None
    group: str | None = None
    drop: tuple[str, ...] = ()
    is_table: bool = True

    def dropping(self, *names: str) -> str:
        """Writes the setting that leaves these columns out, besides those that are already."""
        return setting("data.drop", [*self.drop, *names])

    def other_split(self) -> str:
        """Writes the setting of a split that looks more like the field; empty where none is
        left."""
        if self.kind == "random" and (self.timestamp is not None or not self.is_table):
            return "data.split.kind=time"
        if self.kind == "random" and self.group is not None:
            return "data.split.kind=group"
        return ""


@dataclass(frozen=True)
class Measured:
    """Holds what was measured on the rows."""

    apart: Sequence[Apart] = ()
    threats: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """By part, its threats and its rows; with ``train``."""
    unseen: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """By part: share of rows with something never seen, that which chance brings, columns."""
    near: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """By part: share of rows that nearly repeat a training row, and that of shuffled columns."""
    telling: Sequence[tuple[str, ...]] = ()
    """Columns, or pairs of them, that tell the label."""
    follows: Mapping[str, float] = field(default_factory=dict)
    """By column, its rank correlation with the order of the rows."""
    encodes_group: Sequence[str] = ()


def findings(measured: Measured, roles: Roles) -> tuple[Finding, ...]:
    """Returns all that is worth a sentence."""
    return (
        *_leaks(measured, roles),
        *_identities(measured, roles),
        *_shifts(measured.apart, roles),
        *_priors(measured.threats),
        *_unseen(measured.unseen, roles),
        *_near(measured.near, roles),
    )


def _shifts(apart: Sequence[Apart], roles: Roles) -> list[Finding]:
    found = []
    val = next((one.auc for one in apart if one.part == "val"), 0.5)
    for one in apart:
        # Validation is meant to differ where whole groups or the newest rows are held out.
        if not one.differs or one.part == "val":
            continue
        said = f"ROC AUC {one.auc:.3f} [{one.low:.3f}, {one.high:.3f}]"
        by = f"; {_listed(one.columns)} give{'s' if len(one.columns) == 1 else ''} it away"
        by = by if one.columns else ""
        if one.part == "newest":
            found.append(_drift(one, f"{said}{by}", roles))
            continue
        start = f"Rows of {_part(one.part)} differ from training rows: they are told apart with "
        if val >= APART:
            much = "as much" if val >= one.auc - AS_MUCH else "less"
            sentence = (
                f"{start}{said}{by}. Validation rows differ {much} ({val:.3f}), so scores there "
                f"show {'what' if much == 'as much' else 'a part of what'} that costs."
            )
            found.append(Finding("shift", sentence, "", one.columns))
            continue
        mend, way = _mend(one, roles)
        sentence = f"{start}{said}{by}. Validation does not show what that costs: {way}."
        found.append(Finding("shift", sentence, mend, one.columns))
    return found


def _drift(one: Apart, said: str, roles: Roles) -> Finding:
    if roles.timestamp is None and roles.is_table:
        where = "The last fifth of the rows differs from those before"
        mend, way = _mend(one, roles)
        way = way if mend else f"if rows are in the order of time, {way}"
    else:
        where, mend = (
            "The newest fifth of the rows differs from the older ones",
            roles.other_split(),
        )
        way = f"{mend} validates on newer rows than those that train"
    sentence = f"{where}: told apart with {said}. A random split hides it: {way}."
    return Finding("drift", sentence, mend, one.columns)


def _mend(one: Apart, roles: Roles) -> tuple[str, str]:
    """Returns the setting that mends a shift, and the words that end its sentence."""
    dropping = roles.dropping(*one.without)
    drop = f"without {_listed(one.without)} they are no longer told apart ({dropping})"
    if len(one.without) == 1 and roles.is_table:
        return dropping, drop
    if mend := roles.other_split():
        return mend, f"{mend} holds out rows that differ too"
    if one.without and roles.is_table and one.part != "newest":
        return dropping, drop
    if roles.kind != "random":
        return "", "choose the threshold on rows like those of the field"
    return "", (
        "name the time (data.timestamp=..., data.split.kind=time) or the host or attack class "
        "(data.group=..., data.split.kind=group)"
    )


def _priors(threats: Mapping[str, tuple[int, int]]) -> list[Finding]:
    """Says where the share of threats is another one than in training (z test, 3.5 sigma)."""
    k, n = threats.get("train", (0, 0))
    found = []
    for part, (hits, rows) in threats.items():
        if part == "train" or not n or not rows or not 0 < hits < rows:
            continue
        here, there = hits / rows, k / n
        pooled = (hits + k) / (rows + n)
        sigma = (pooled * (1 - pooled) * (1 / rows + 1 / n)) ** 0.5
        ratio = max(here, there) / max(min(here, there), 1e-9)
        far = ratio >= OTHER_SHARE or (1 - min(here, there)) / (1 - max(here, there)) >= OTHER_SHARE
        if sigma > 0 and abs(here - there) / sigma >= 3.5 and far:
            mend = f"threat_ratio={here:.3g}"
            sentence = (
                f"{here:.2%} of the rows of {_part(part)} are threats, {there:.2%} of the training "
                f"rows: scores stay as they are, and `jamba-ray threshold` with {mend} chooses a "
                "threshold for that share."
            )
            found.append(Finding("prior", sentence, mend))
    return found


def _unseen(unseen: Mapping[str, Mapping[str, Any]], roles: Roles) -> list[Finding]:
    found = []
    for part, one in unseen.items():
        share, chance = float(one["share"]), float(one["expected"])
        rows = int(one["rows"])
        noise = 4 * (max(chance, 1e-9) / max(rows, 1)) ** 0.5
        if part == "val" or share < max(NEVER_SEEN, 2 * chance) + noise:
            continue
        columns = list(one["columns"].items())
        most = [(name, of) for name, of in columns if of >= max(share / 10, NEVER_SEEN / 2)]
        named = ", ".join(f"{name!r} {of:.1%}" for name, of in most[:_SHOWN])
        sentence = (
            f"{share:.1%} of the rows of {_part(part)} hold a category or a number outside all "
            f"that training saw{f' ({named})' if named else ''}; a model can only guess there."
        )
        mend = ""
        if most and most[0][1] >= share / 2:
            mend = roles.dropping(most[0][0])
            sentence = sentence[:-1] + f": {mend} if it is a name or a counter."
        elif mend := roles.other_split():
            sentence = sentence[:-1] + f": {mend} validates on such rows."
        found.append(Finding("unseen", sentence, mend, tuple(name for name, _ in most[:_SHOWN])))
    return found


def _near(near: Mapping[str, tuple[float, float]], roles: Roles) -> list[Finding]:
    said = [
        f"{share:.1%} of the rows of {_part(part)}"
        for part, (share, by_chance) in near.items()
        if share >= NEAR and share >= 3 * by_chance + NEAR / 2
    ]
    if not said:
        return []
    mend, way = "data.split.kind=group", "data.split.kind=group keeps a group's rows together"
    if roles.group is None:
        way = "name the host or session in data.group and set data.split.kind=group"
    if roles.kind == "group":
        mend, way = "", "scores there are partly memory"
    sentence = (
        f"{' and '.join(said)} nearly repeat a training row (all columns but one are the same, to "
        f"0.02 of a standard deviation): {way}."
    )
    return [Finding("near", sentence, mend)]


def _leaks(measured: Measured, roles: Roles) -> list[Finding]:
    found = []
    for columns in measured.telling:
        mend = roles.dropping(*columns)
        which = (
            f"Features {columns[0]!r} and {columns[1]!r} together tell"
            if len(columns) > 1
            else f"Feature {columns[0]!r} alone nearly tells"
        )
        sentence = (
            f"{which} the label of rows that were not fitted; if made from the label: {mend}."
        )
        found.append(Finding("leak", sentence, mend, columns))
    return found


def _identities(measured: Measured, roles: Roles) -> list[Finding]:
    found = []
    for name, correlation in measured.follows.items():
        mend = roles.dropping(name)
        what = "the time" if roles.timestamp is not None else "the order of the rows"
        sentence = (
            f"Column {name!r} follows {what} (rank correlation {correlation:.3f}): it says when a "
            f"row was written, not what it is; {mend} leaves it out."
        )
        found.append(Finding("time", sentence, mend, (name,)))
    for name in measured.encodes_group:
        mend = roles.dropping(name)
        sentence = (
            f"Column {name!r} names the group {roles.group!r}, each of its values one group: a "
            f"model would learn names by heart; {mend} leaves it out."
        )
        found.append(Finding("group", sentence, mend, (name,)))
    return found


def _part(name: str) -> str:
    return {"test": "the test", "val": "validation"}.get(name, f"the test {name!r}")


def _listed(names: Sequence[str]) -> str:
    quoted = [repr(name) for name in names] or [""]
    return " and ".join([", ".join(quoted[:-1]), quoted[-1]] if len(quoted) > 1 else quoted)
