"""Lets versions answer: the champion, another one for some keys, and one in the shadow.

Letters: N rows.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from jamba_ray.serving.metrics import Metrics
from jamba_ray.serving.model import Scores, ScoringError, ServedModel
from jamba_ray.serving.rollback import Limits, Watch
from jamba_ray.serving.rows_body import Rows, sliced
from jamba_ray.serving.schema import SchemaError
from jamba_ray.serving.split import Split

Role: TypeAlias = Literal["champion", "canary", "ab", "shadow"]
Tell: TypeAlias = Callable[..., None]
"""Logs an event with its fields."""


@dataclass(frozen=True)
class Roles:
    """Says which model has which role; replaced as a whole, so that a request sees one state."""

    champion: ServedModel
    other: ServedModel | None = None
    shadow: ServedModel | None = None


@dataclass(frozen=True)
class Answer:
    """Holds the answer to N rows."""

    scores: Scores
    models: Sequence[ServedModel]
    """Who answered: one, or two that share the rows."""
    by: npt.NDArray[np.int64] | None = None
    """[N] which of ``models`` scored a row; None: there is one."""

    @property
    def versions(self) -> str:
        """Returns the versions that answered."""
        return ",".join(model.version for model in self.models)


@dataclass
class Deployment:
    """Answers requests; may be used by several threads."""

    roles: Roles
    metrics: Metrics
    tell: Tell
    kind: Literal["canary", "ab"] = "canary"
    split: Split = field(default_factory=lambda: Split(0.0))
    key_column: str | None = None
    limits: Limits = field(default_factory=Limits)
    rolled_back: dict[str, Any] | None = None
    """The canary that was taken back, and why."""
    _watch: Watch = field(init=False)
    _lock: threading.Lock = field(init=False, default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._watch = Watch(self.limits)

    def answer(self, rows: Rows, key: str | bytes | None, body: bytes) -> Answer:
        """Scores rows with the versions that their keys choose.

        Raises:
            SchemaError: The rows are not what the champion takes.
            ScoringError: The champion fails on them.
        """
        roles, begun = self.roles, time.perf_counter()
        if roles.other is None:
            found = Answer(roles.champion.score(rows.columns), (roles.champion,))
        else:
            found = self._shared(roles, roles.other, rows, key, body)
        seconds = time.perf_counter() - begun
        with self._lock:
            for i, model in enumerate(found.models):
                is_mine = slice(None) if found.by is None else found.by == i
                counts = self.metrics.of(model.version, self._role(roles, model))
                counts.scored(found.scores.score[is_mine], found.scores.alert[is_mine])
                counts.seconds.add(seconds)
        return found

    def _role(self, roles: Roles, model: ServedModel) -> Role:
        return "champion" if model is roles.champion else self.kind

    def _shared(
        self,
        roles: Roles,
        other: ServedModel,
        rows: Rows,
        key: str | bytes | None,
        body: bytes,
    ) -> Answer:
        cells = None if self.key_column is None else rows.columns.get(self.key_column)
        if key is not None or cells is None:
            if not self.split.is_other(body if key is None else key):
                return Answer(roles.champion.score(rows.columns), (roles.champion,))
            scores, model = self._of_other(roles, other, rows)
            return Answer(scores, (model,))
        others = self.split.others(list(cells))
        if not others:
            return Answer(roles.champion.score(rows.columns), (roles.champion,))
        if len(others) == rows.n:
            scores, model = self._of_other(roles, other, rows)
            return Answer(scores, (model,))
        is_other = np.zeros(rows.n, dtype=bool)
        is_other[others] = True
        mine = roles.champion.score(sliced(rows, np.flatnonzero(~is_other).tolist()).columns)
        scores, model = self._of_other(roles, other, sliced(rows, others))
        by = is_other.astype(np.int64)
        if model is roles.champion:
            return Answer(_merged(mine, scores, is_other), (model,))
        return Answer(_merged(mine, scores, is_other), (roles.champion, model), by)

    def _of_other(self, roles: Roles, other: ServedModel, rows: Rows) -> tuple[Scores, ServedModel]:
        """Scores with the other version; where it fails, the champion answers."""
        try:
            found = other.score(rows.columns)
        except (SchemaError, ScoringError) as error:
            scores = roles.champion.score(rows.columns)  # raises where the rows are at fault
            with self._lock:
                self.metrics.of(other.version, self.kind).errors += 1
                why = self._watch.failed() if self.kind == "canary" else None
            self.tell("version_failed", version=other.version, why=str(error)[:300])
            if why is not None:
                self._roll_back(other, why)
            return scores, roles.champion
        if self.kind == "canary":
            try:
                beside = roles.champion.score(rows.columns)
            except (SchemaError, ScoringError):
                return found, other
            with self._lock:
                why = self._watch.scored(found.score, beside.score)
            if why is not None:
                self._roll_back(other, why)
        return found, other

    def _roll_back(self, other: ServedModel, why: str) -> None:
        with self._lock:
            if self.roles.other is not other:  # another thread has, or it was swapped
                return
            self.roles = replace(self.roles, other=None)
            self.rolled_back = {"version": other.version, "why": why, "at": time.time()}
            self.metrics.rollbacks += 1
        self.tell("rolled_back", version=other.version, why=why)

    def shadowed(self, rows: Rows, answer: Answer) -> None:
        """Scores rows with the shadow, and counts how it differs from the answer."""
        if (model := self.roles.shadow) is None:
            return
        begun = time.perf_counter()
        try:
            found = model.score(rows.columns)
        except (SchemaError, ScoringError):
            with self._lock:
                self.metrics.of(model.version, "shadow").errors += 1
            return
        with self._lock:
            counts = self.metrics.of(model.version, "shadow")
            counts.scored(found.score, found.alert)
            counts.seconds.add(time.perf_counter() - begun)
            counts.shadow_flips += int((found.alert != answer.scores.alert).sum())

    def dropped(self) -> None:
        """Counts a request that the shadow was too slow for."""
        if (model := self.roles.shadow) is not None:
            with self._lock:
                self.metrics.of(model.version, "shadow").shadow_dropped += 1

    def put(self, role: Role, model: ServedModel) -> None:
        """Gives a role to a model; requests that have begun keep the one before."""
        with self._lock:
            name = "other" if role in ("canary", "ab") else role
            before: ServedModel | None = getattr(self.roles, name)
            self.roles = replace(self.roles, **{name: model})
            if role != "shadow":  # the canary is compared with what is beside it now
                self._watch = Watch(self.limits)
            if name == "other":
                self.rolled_back = None
            self.metrics.swaps += 1
            self.metrics.forget([(v, r) for r, v in self.current().items()])
        self.tell(
            "swapped",
            role=role,
            version=model.version,
            before=None if before is None else before.version,
        )

    def current(self) -> dict[str, str]:
        """Returns role -> the version that has it."""
        roles = self.roles
        found = {"champion": roles.champion.version}
        if roles.other is not None:
            found[self.kind] = roles.other.version
        if roles.shadow is not None:
            found["shadow"] = roles.shadow.version
        return found


def _merged(mine: Scores, other: Scores, is_other: npt.NDArray[np.bool_]) -> Scores:
    def both(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> npt.NDArray[Any]:
        found = np.empty(len(is_other), dtype=a.dtype)
        found[~is_other], found[is_other] = a, b
        return found

    probability = None
    if mine.probability is not None and other.probability is not None:
        probability = both(mine.probability, other.probability)
    names = [name for name in mine.alerts if name in other.alerts]
    return Scores(
        both(mine.score, other.score),
        both(mine.alert, other.alert),
        probability,
        {name: both(mine.alerts[name], other.alerts[name]) for name in names},
    )
