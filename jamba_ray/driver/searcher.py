"""Defines ``StudySearcher``, which asks the study for trials on behalf of Ray Tune."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ray.tune.search.searcher import Searcher

from jamba_ray.errors import JambaError
from jamba_ray.study.records import Answer, to_text

RUNNER_KILLED = "the runner's process was killed"


class StudySearcher(Searcher):
    """Asks the study for trials while a runner is free.

    A Tune trial trains one stack: its configuration holds a ticket and the first trial. Runners
    report the end of trials to the study themselves; only a dead runner is reported from here.
    """

    def __init__(
        self,
        ask: Callable[[str], Answer],
        lost: Callable[[str, str], None],
        *,
        runners: int,
        session: str,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        super().__init__()
        self._ask, self._lost = ask, lost
        self._runners, self._session, self._stopping = runners, session, stopping
        self._busy: set[str] = set()
        self.ended: str | None = None
        """Why the study has no more trials, once that is so."""
        self.error: JambaError | None = None
        """What ended the sweep before its time; Tune would bury it under its own error."""

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]
        """Returns a stack for a free runner; None while all runners are busy."""
        if self._stopping():
            return Searcher.FINISHED
        if len(self._busy) >= self._runners:
            return None
        finished: str = Searcher.FINISHED
        ticket = f"{self._session}/{trial_id}"
        try:
            answer = self._ask(ticket)
        except JambaError as error:
            self.error = error
            return finished
        if answer.spec is None:
            self.ended = answer.ended
            # A busy runner may still die, and its trials then need another runner.
            return None if self._busy else finished
        self._busy.add(trial_id)
        return {"ticket": ticket, "trial": to_text(answer.spec)}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Frees the runner; trials of a runner that died are continued elsewhere or failed."""
        self._busy.discard(trial_id)
        # A runner that ends while the sweep stops is not lost: its trials stay as they are.
        if not error or self.error is not None or self._stopping():
            return
        try:
            self._lost(f"{self._session}/{trial_id}", RUNNER_KILLED)
        except JambaError as problem:
            self.error = problem

    def save(self, checkpoint_path: str) -> None:
        """Does nothing: the study is the source of truth, and Tune's state is never read again."""

    def restore(self, checkpoint_path: str) -> None:
        """Does nothing, for the same reason as ``save``."""

    def get_state(self) -> dict[str, Any]:
        """Returns nothing, for the same reason as ``save``."""
        return {}

    def set_state(self, state: dict[str, Any]) -> None:
        """Does nothing, for the same reason as ``save``."""
