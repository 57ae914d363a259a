"""Decides what of a window is worth a sentence, and how grave it is.

Pure: from what was measured to findings. A change counts where chance alone would hardly make it
and it moves at least ``min_effect`` of the rows; what is surely there but smaller is ``info``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jamba_ray.evaluation.prior_shift import Prior
from jamba_ray.evaluation.promise import percent
from jamba_ray.watching.column_changes import ColumnChange
from jamba_ray.watching.labelled import Labelled
from jamba_ray.watching.row_changes import RowChange

SEVERITIES = ("info", "warning", "critical")
KINDS = (
    *("promise", "lacking", "clock", "stale", "prior", "values", "missing", "unseen", "volume"),
    *("score", "rows", "group"),
)
"""From what says most of the cause to what says least."""
_EFFECTS = ("score", "rows", "group")
GRAVE = 0.25
"""Share of rows that a change moves from which it is critical."""
CONCEPT = (
    "Whether what a threat looks like has changed (concept drift) cannot be seen without labels."
)


@dataclass(frozen=True)
class Finding:
    """Holds one thing that a person should know of a window."""

    kind: str
    """One of ``KINDS``."""
    severity: str
    sentence: str
    column: str | None = None
    p: float | None = None
    effect: float | None = None
    """The share of the rows that it moves, where there is one."""

    @property
    def key(self) -> str:
        """Returns its name, the same in each window that has it."""
        return self.kind if self.column is None else f"{self.kind}:{self.column}"

    def to_json(self) -> dict[str, Any]:
        """Returns strict JSON."""
        return {
            "key": self.key,
            "kind": self.kind,
            "severity": self.severity,
            "column": self.column,
            "sentence": self.sentence,
            "p": self.p,
            "effect": self.effect,
        }


def severity_of(effect: float, min_effect: float) -> str:
    """Returns how grave a change is that moves this share of the rows."""
    if effect < min_effect:
        return "info"
    return "critical" if effect >= GRAVE else "warning"


def of_columns(
    columns: Sequence[ColumnChange], min_effect: float, *, explained: bool
) -> list[Finding]:
    """Returns what was found of columns; ``explained``: another share of threats makes their
    changes, so that they are told as ``info``."""
    found = []
    for one in columns:
        name = repr(one.column)
        values = one.values
        if one.found and values is not None:
            much = f"that moves {percent(values.distance)} of the rows"
            chance = f"PSI {values.psi:.3f}; chance makes up to {values.psi_by_chance:.3f}"
            unit = f", as if another unit had made them {one.factor:g} times" if one.factor else ""
            sentence = f"The values of {name} have changed{unit}: {much} ({chance})."
            severity = severity_of(values.distance, min_effect)
            if explained:
                sentence = f"{sentence[:-1]}, as the other share of threats makes them."
                severity = "info"
            found.append(
                Finding("values", severity, sentence, one.column, values.p, values.distance)
            )
        if one.missing is not None and one.missing.found:
            found.append(_missing(one, min_effect))
        if one.unseen is not None and one.unseen.found and one.unseen.value > one.unseen.before:
            found.append(_unseen(one, min_effect))
    return found


def _missing(one: ColumnChange, min_effect: float) -> Finding:
    share = one.missing
    assert share is not None
    moved = abs(share.value - share.before)
    odd = f", {one.unreadable:,} of them set but no number" if one.unreadable else ""
    sentence = (
        f"{percent(share.value)} of {one.column!r} is missing{odd}; it was {percent(share.before)}."
    )
    return Finding("missing", severity_of(moved, min_effect), sentence, one.column, share.p, moved)


def _unseen(one: ColumnChange, min_effect: float) -> Finding:
    share = one.unseen
    assert share is not None
    moved = share.value - share.before
    if one.kind == "name":
        named = ", ".join(f"{name!r} ({count:,})" for name, count in one.new[:3])
        sentence = (
            f"{percent(share.value)} of {one.column!r} are names that training did not know"
            f"{f', such as {named}' if named else ''}; they were {percent(share.before)}."
        )
    else:
        sentence = (
            f"{percent(share.value)} of {one.column!r} lie beyond all that training saw; chance "
            f"makes {percent(share.before)}."
        )
    return Finding("unseen", severity_of(moved, min_effect), sentence, one.column, share.p, moved)


def of_lacking(names: Sequence[str]) -> list[Finding]:
    """Returns a finding for each column of the model that is not there."""
    return [
        Finding(
            "lacking",
            "critical",
            f"The column {name!r} is not there: every row is scored as if it were missing.",
            name,
            effect=1.0,
        )
        for name in names
    ]


def of_score(
    score: ColumnChange, rows: RowChange | None, min_effect: float, *, explained: bool
) -> list[Finding]:
    """Returns what was found of the scores, and of whole rows."""
    found = []
    if score.found and score.values is not None:
        v = score.values
        sentence = (
            f"The scores have changed: that moves {percent(v.distance)} of the rows (PSI "
            f"{v.psi:.3f}; chance makes up to {v.psi_by_chance:.3f})."
        )
        severity = severity_of(v.distance, min_effect)
        if explained:
            sentence = f"{sentence[:-1]}, as the other share of threats makes them."
            severity = "info"
        found.append(Finding("score", severity, sentence, None, v.p, v.distance))
    if rows is not None and rows.found:
        effect = max(2.0 * rows.auc - 1.0, 0.0)
        by = ", ".join(map(repr, rows.columns))
        sentence = (
            f"A classifier tells these rows from those of the reference (ROC AUC {rows.auc:.3f} "
            f"[{rows.low:.3f}, {rows.high:.3f}]{f'; {by} give it away' if by else ''})."
        )
        severity = "info" if explained else severity_of(effect, min_effect)
        found.append(Finding("rows", severity, sentence, None, rows.p, effect))
    return found


def of_prior(prior: Prior | None, *, explains: bool) -> list[Finding]:
    """Returns that the share of threats is another one, where that explains what has changed."""
    if prior is None or not explains:
        return []
    sentence = (
        f"About {percent(prior.value)} of the rows are threats ({percent(prior.low)} to "
        f"{percent(prior.high)}), {percent(prior.before)} of the reference: that explains what "
        "has changed, if threats look as before. `jamba-ray threshold` with "
        f"threat_ratio={prior.value:.3g} chooses a threshold for that share."
    )
    effect = abs(prior.value - prior.before)
    severity = "critical" if effect >= GRAVE else "warning"
    return [Finding("prior", severity, sentence, None, None, effect)]


def of_labels(found: Labelled | None, promise: Mapping[str, Any] | None) -> list[Finding]:
    """Returns what the labels refuse."""
    if found is None or promise is None or not found.refuted or found.wager is None:
        return []
    wager = found.wager
    done = "threats are missed" if promise["rate"] == "miss" else "benign rows are flagged"
    sentence = (
        f"The promise is broken: of {wager.rows:,} labelled rows {wager.wrong:,} {done}, more than "
        f"the {percent(wager.limit)} promised (a test that may be read at any time refuses it)."
    )
    return [Finding("promise", "critical", sentence)]


def ordered(findings: Sequence[Finding]) -> list[Finding]:
    """Returns the findings that are told first, then those of ``info``; of both causes before what
    follows from them, the gravest first."""
    return sorted(
        findings,
        key=lambda one: (
            one.severity == "info",
            one.kind in _EFFECTS,
            -SEVERITIES.index(one.severity),
            KINDS.index(one.kind),
        ),
    )


def headline(findings: Sequence[Finding], rows: int, labels: Labelled | None, smallest: str) -> str:
    """Returns the answer in one or two sentences; never that all is well where no label says so."""
    told = [one for one in findings if one.severity != "info"]
    if told:
        grave = sum(one.severity == "critical" for one in told)
        many = f"{len(told)} findings" if len(told) > 1 else f"1 finding ({told[0].severity})"
        of_them = f", {grave} of them critical," if grave and len(told) > 1 else ""
        start = f"{many}{of_them} in {rows:,} rows. {ordered(told)[0].sentence}"
    else:
        start = f"No change found in {rows:,} rows{smallest}."
    if labels is None or not labels.metrics:
        return f"{start} {CONCEPT}"
    return start
