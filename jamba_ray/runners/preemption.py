"""Moves a runner's trials away from a node that will be taken away: saves them and leaves."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from jamba_ray.cluster.nodes import draining_nodes
from jamba_ray.data.prepared import PreparedData
from jamba_ray.runners.runner import Fit, Reporter
from jamba_ray.training import Decision, Member, Outcome, Report

_LOOK_EVERY_S = 1.0


class PreemptedError(BaseException):
    """Reports that the runner leaves its node; its trials are saved and not at fault.

    It is no ``Exception``, so that code which catches a trial's errors does not catch it.
    """

    def __init__(self, why: str = "its node is being taken away") -> None:
        super().__init__(why)


class PreemptionNotice:
    """Checks whether the runner's node will be taken away.

    Reasons are ``ray drain-node``, an autoscaler that was warned of a spot machine's end, and a
    node that is scaled away.
    """

    def __init__(
        self, drains: Callable[[], bool] | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._drains, self._clock = drains or this_node_drains, clock
        self._looked_at = float("-inf")
        self._came = False

    def leave(self) -> None:
        """Raises PreemptedError if the notice has come: all members could save since."""
        if self._came:
            raise PreemptedError
        self._look()

    def is_urgent(self) -> bool:
        """Says whether the notice has come just now; raises as ``leave`` does if it came before.

        ``training.fit`` asks between reports, and then saves all members; so does a runner before a
        stack.
        """
        self.leave()
        return self._came

    def around(self, fit: Fit) -> Fit:
        """Returns a ``fit`` that saves after the notice and then raises PreemptedError."""

        def fit_until_notice(
            members: Sequence[Member],
            data: PreparedData,
            report: Reporter,
            **how: Any,
        ) -> list[Outcome]:
            def told(reports: Sequence[Report]) -> Sequence[Decision]:
                self.leave()
                return report(reports)

            return fit(members, data, told, urgent=self.is_urgent, **how)

        return fit_until_notice

    def _look(self) -> None:
        now = self._clock()
        if now - self._looked_at >= _LOOK_EVERY_S:
            self._looked_at = now
            self._came = self._drains()


def this_node_drains() -> bool:
    """Says whether the node of this process is being drained.

    False if Ray does not answer, because no trial must fail for that.
    """
    import ray

    try:
        return ray.get_runtime_context().get_node_id() in draining_nodes()
    except Exception:
        return False
