"""Trials as rows of Optuna's own tables, and a digest of each trial that tells flipped bits.

Optuna's storage writes one attribute or report per transaction, through an ORM. Here the rows of a
whole call go in one transaction, in the tables that Optuna 5.0 reads: any Optuna can open the file.
SQLite has no checksums of its own; ``jamba_ray_digests`` holds a SHA-256 of each trial's content.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from optuna.distributions import distribution_to_json, json_to_distribution
from optuna.trial import FrozenTrial, TrialState

Row = tuple[str, list[Any]]
"""A name in ``STATEMENTS`` and its arguments, plain JSON values."""

STUDY_NAME = "jamba_ray"
"""The one study in a run's database."""

STUDY = 0
"""``trial_id`` of the study's own digest; Optuna's ids begin at 1."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS jamba_ray_digests (trial_id INTEGER PRIMARY KEY, sha256 TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS jamba_ray_lease (
    id INTEGER PRIMARY KEY CHECK (id = 1), epoch INTEGER NOT NULL, holder TEXT NOT NULL,
    renewed REAL NOT NULL, writer TEXT NOT NULL, commits INTEGER NOT NULL);
INSERT OR IGNORE INTO jamba_ray_lease VALUES (1, 0, '', 0.0, '', 0);
"""

STATEMENTS = {
    # Each may be run again with the same arguments: a commit whose outcome is unknown is repeated.
    "trial": "INSERT INTO trials (trial_id, number, study_id, state, datetime_start, "
    "datetime_complete) VALUES (?, ?, 1, ?, ?, ?) ON CONFLICT (trial_id) DO UPDATE SET "
    "state = excluded.state, datetime_complete = excluded.datetime_complete",
    "param": "INSERT INTO trial_params (trial_id, param_name, param_value, distribution_json) "
    "VALUES (?, ?, ?, ?) ON CONFLICT (trial_id, param_name) DO NOTHING",
    "value": "INSERT INTO trial_values (trial_id, objective, value, value_type) "
    "VALUES (?, 0, ?, 'FINITE') ON CONFLICT (trial_id, objective) DO UPDATE SET "
    "value = excluded.value",
    "report": "INSERT INTO trial_intermediate_values (trial_id, step, intermediate_value, "
    "intermediate_value_type) VALUES (?, ?, ?, 'FINITE') ON CONFLICT (trial_id, step) "
    "DO UPDATE SET intermediate_value = excluded.intermediate_value",
    "trial_user": "INSERT INTO trial_user_attributes (trial_id, key, value_json) VALUES (?, ?, ?) "
    "ON CONFLICT (trial_id, key) DO UPDATE SET value_json = excluded.value_json",
    "trial_system": "INSERT INTO trial_system_attributes (trial_id, key, value_json) "
    "VALUES (?, ?, ?) ON CONFLICT (trial_id, key) DO UPDATE SET value_json = excluded.value_json",
    "study_user": "INSERT INTO study_user_attributes (study_id, key, value_json) VALUES (1, ?, ?) "
    "ON CONFLICT (study_id, key) DO UPDATE SET value_json = excluded.value_json",
    "study_system": "INSERT INTO study_system_attributes (study_id, key, value_json) "
    "VALUES (1, ?, ?) ON CONFLICT (study_id, key) DO UPDATE SET value_json = excluded.value_json",
    "digest": "INSERT INTO jamba_ray_digests (trial_id, sha256) VALUES (?, ?) "
    "ON CONFLICT (trial_id) DO UPDATE SET sha256 = excluded.sha256",
    "commits": "UPDATE jamba_ray_lease SET commits = ?",
}


@dataclass
class Contents:
    """What the tables hold."""

    name: str
    direction: str
    """'MAXIMIZE' or 'MINIMIZE'."""
    user_attrs: dict[str, Any] = field(default_factory=dict)
    system_attrs: dict[str, Any] = field(default_factory=dict)
    trials: list[FrozenTrial] = field(default_factory=list)
    """By number; ``trials[n].number == n`` and Optuna's id is ``n + 1``."""
    commits: int = 0


class DamagedError(Exception):
    """The tables do not hold what was written; the text says what is wrong."""


def new_trial(trial: FrozenTrial) -> list[Row]:
    """The rows of a trial that is created whole."""
    row_id = trial.number + 1
    rows: list[Row] = [trial_row(trial)]
    for name, value in trial.params.items():
        distribution = trial.distributions[name]
        internal = distribution.to_internal_repr(value)
        rows.append(("param", [row_id, name, internal, distribution_to_json(distribution)]))
    rows += [("trial_user", [row_id, k, _text(v)]) for k, v in trial.user_attrs.items()]
    rows += [("trial_system", [row_id, k, _text(v)]) for k, v in trial.system_attrs.items()]
    rows += [("report", [row_id, s, v]) for s, v in trial.intermediate_values.items()]
    return rows


def trial_row(trial: FrozenTrial) -> Row:
    """The row that says a trial's state and times."""
    began, ended = _utc(trial.datetime_start), _utc(trial.datetime_complete)
    return "trial", [trial.number + 1, trial.number, trial.state.name, began, ended]


def digest(trial: FrozenTrial) -> str:
    """SHA-256 over everything that the tables hold of a trial."""
    params = [
        [
            k,
            trial.distributions[k].to_internal_repr(v),
            distribution_to_json(trial.distributions[k]),
        ]
        for k, v in sorted(trial.params.items())
    ]
    return _sha256(
        [
            trial_row(trial)[1],
            trial.values,
            params,
            sorted(trial.intermediate_values.items()),
            trial.user_attrs,
            trial.system_attrs,
        ]
    )


def study_digest(contents: Contents) -> str:
    """SHA-256 over the study itself and the number of its trials."""
    own = [contents.direction, contents.user_attrs, contents.system_attrs, len(contents.trials)]
    return _sha256(own)


def read(connection: sqlite3.Connection) -> Contents | None:
    """Everything in the tables, checked against the digests; None: there is no study yet.

    Raises:
        DamagedError: Something is not as it was written.
        sqlite3.Error: The file itself is damaged.
    """
    (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise DamagedError(verdict)
    tables = {n for (n,) in connection.execute("SELECT name FROM sqlite_master")}
    if not tables:
        return None
    try:
        contents = _read(connection)
        digests = dict(connection.execute("SELECT trial_id, sha256 FROM jamba_ray_digests"))
        found = {STUDY: study_digest(contents)}
        found |= {t.number + 1: digest(t) for t in contents.trials}
    except DamagedError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedError(f"{type(error).__name__}: {error}") from error
    for row_id, sha256 in found.items():
        if digests.pop(row_id, None) != sha256:
            what = "the study's own record" if row_id == STUDY else f"trial {row_id - 1}"
            raise DamagedError(f"{what} is not as it was written")
    if digests:
        raise DamagedError(f"trial {min(digests) - 1} is gone")
    return contents


def _read(connection: sqlite3.Connection) -> Contents:
    (name,) = connection.execute("SELECT study_name FROM studies WHERE study_id = 1").fetchone()
    (direction,) = connection.execute("SELECT direction FROM study_directions").fetchone()
    params: dict[int, dict[str, Any]] = defaultdict(dict)
    distributions: dict[int, dict[str, Any]] = defaultdict(dict)
    known: dict[str, Any] = {}
    for row_id, key, value, text in connection.execute(
        "SELECT trial_id, param_name, param_value, distribution_json FROM trial_params "
        "ORDER BY param_id"
    ):
        distribution = known.get(text) or known.setdefault(text, json_to_distribution(text))
        params[row_id][key] = distribution.to_external_repr(value)
        distributions[row_id][key] = distribution
    reports: dict[int, dict[int, float]] = defaultdict(dict)
    for row_id, step, value, kind in connection.execute(
        "SELECT trial_id, step, intermediate_value, intermediate_value_type "
        "FROM trial_intermediate_values ORDER BY trial_id, step"
    ):
        _require(kind == "FINITE" and isinstance(value, float), f"trial {row_id - 1}, step {step}")
        reports[row_id][step] = value
    values = {}
    for row_id, value, kind in connection.execute(
        "SELECT trial_id, value, value_type FROM trial_values WHERE objective = 0"
    ):
        _require(kind == "FINITE" and isinstance(value, float), f"trial {row_id - 1}")
        values[row_id] = [value]
    user = _by_trial(
        connection.execute("SELECT trial_id, key, value_json FROM trial_user_attributes")
    )
    system = _by_trial(
        connection.execute("SELECT trial_id, key, value_json FROM trial_system_attributes")
    )
    trials: list[FrozenTrial] = []
    for row_id, number, state, began, ended in connection.execute(
        "SELECT trial_id, number, state, datetime_start, datetime_complete FROM trials "
        "ORDER BY trial_id"
    ):
        _require(number == len(trials) and row_id == number + 1, f"trial {len(trials)}")
        trials.append(
            FrozenTrial(
                number=number,
                trial_id=number,
                state=TrialState[state],
                value=None,
                values=values.get(row_id),
                datetime_start=_local(began),
                datetime_complete=_local(ended),
                params=params[row_id],
                distributions=distributions[row_id],
                user_attrs=user[row_id],
                system_attrs=system[row_id],
                intermediate_values=reports[row_id],
            )
        )
    return Contents(
        name=name,
        direction=direction,
        user_attrs=_attributes(connection, "study_user_attributes"),
        system_attrs=_attributes(connection, "study_system_attributes"),
        trials=trials,
        commits=connection.execute("SELECT commits FROM jamba_ray_lease").fetchone()[0],
    )


def _by_trial(rows: Iterable[tuple[int, str, str]]) -> dict[int, dict[str, Any]]:
    found: dict[int, dict[str, Any]] = defaultdict(dict)
    for row_id, key, text in rows:
        found[row_id][key] = json.loads(text)
    return found


def _attributes(connection: sqlite3.Connection, table: str) -> dict[str, Any]:
    rows = connection.execute(f"SELECT key, value_json FROM {table} WHERE study_id = 1")
    return {key: json.loads(text) for key, text in rows}


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise DamagedError(f"{what} is not as it was written")


def _text(value: Any) -> str:
    """As Optuna spells an attribute, but strict: no NaN, no infinity."""
    return json.dumps(value, allow_nan=False)


def _sha256(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _utc(local: datetime.datetime | None) -> str | None:
    """As SQLAlchemy writes it: naive UTC with six digits of microseconds."""
    if local is None:
        return None
    return local.astimezone(datetime.UTC).replace(tzinfo=None).isoformat(" ", "microseconds")


def _local(utc: str | None) -> datetime.datetime | None:
    if utc is None:
        return None
    moment = datetime.datetime.fromisoformat(utc)  # ten times as fast as strptime
    _require(moment.isoformat(" ", "microseconds") == utc, f"the time {utc!r}")
    return moment.replace(tzinfo=datetime.UTC).astimezone().replace(tzinfo=None)
