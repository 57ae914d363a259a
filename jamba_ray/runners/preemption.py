"""A node that will be taken away says so first: its runner saves, leaves, and goes on elsewhere."""

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
    """The runner leaves its node; its trials are saved, and to blame for nothing.

    No ``Exception``, so that code which survives a trial's faults does not survive this one.
    """

    def __init__(self, why: str = "its node is being taken away") -> None:
        super().__init__(why)


class PreemptionNotice:
    """What a runner knows of the end of its node (``ray drain-node``, an autoscaler that was told
    of a spot machine's end, a node that is scaled away)."""

    def __init__(
        self, drains: Callable[[], bool] | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._drains, self._clock = drains or this_node_drains, clock
        self._looked_at = float("-inf")
        self._came = False

    def leave(self) -> None:
        """Raise PreemptedError if the notice has come: all members were offered a save since."""
        if self._came:
            raise PreemptedError
        self._look()

    def is_urgent(self) -> bool:
        """Whether the notice has come just now; asked by ``training.fit`` between reports, which
        then saves all members, and before a stack is begun. Raises as ``leave`` does."""
        self.leave()
        return self._came

    def around(self, fit: Fit) -> Fit:
        """``fit`` that saves when the notice comes and raises PreemptedError soon after."""

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
    """Whether the node of this process is being drained; a Ray that does not answer says nothing,
    and no trial is to fail for it."""
    import ray

    try:
        return ray.get_runtime_context().get_node_id() in draining_nodes()
    except Exception:
        return False
