"""Detects that no machine has room for a runner, and says so in the progress.

A cluster may start with no machines, and a cloud that takes spot machines back may have no others
for hours.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from jamba_ray.cluster.nodes import places
from jamba_ray.cluster.resources import RunnerPlan, check_custom
from jamba_ray.errors import UnavailableError
from jamba_ray.study.records import SweepProgress

MACHINES = "no machine has a place"
"""How the sentence begins."""
_QUIET_S = 10.0
"""Seconds without progress of a trial after which the machines are checked."""
_LOOK_S = 5.0

Nodes = Iterable[Mapping[str, Any]]


def check_places(plan: RunnerPlan, *, local: bool) -> None:
    """Refuses resources and labels that this machine lacks, where this process started Ray.

    A cluster may grow machines that have them, which ``MachineWatch`` waits for.

    Raises:
        UnavailableError: With what there is.
    """
    if not local:
        return
    if plan.resources:
        import ray

        check_custom(plan, ray.cluster_resources())  # type: ignore[no-untyped-call]
    if plan.labels and not places(_nodes(), plan.need, plan.labels):
        words = ", ".join(f"{name}: {value}" for name, value in plan.labels.items())
        raise UnavailableError(
            f"`labels` must be those of a node, but this machine lacks {{{words}}}. "
            "Drop it, or run on a cluster that has such nodes."
        )


class MachineWatch:
    """Passes the progress on to ``watch``, with a sentence where the sweep waits for a machine.

    Args:
        watch: Called with every progress.
        plan: The size of each runner.
        look: Returns Ray's nodes.
        clock: Replaces the clock in tests.
    """

    def __init__(
        self,
        watch: Callable[[SweepProgress], None],
        plan: RunnerPlan,
        look: Callable[[], Nodes] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._watch, self._plan = watch, plan
        self._look, self._clock = look or _nodes, clock
        self._need = plan.need
        self._moved_at = self._looked_at = clock()
        self._stood: object = None
        self._is_none = False

    def __call__(self, progress: SweepProgress) -> None:
        """Passes the progress on."""
        if progress.trouble is None and self._waits(progress):
            waited_s = self._clock() - self._moved_at
            progress = replace(progress, trouble=self._sentence(waited_s))
        self._watch(progress)

    def _waits(self, progress: SweepProgress) -> bool:
        now = self._clock()
        stands = (progress.n_finished, [(t.number, t.step) for t in progress.running])
        if stands != self._stood or progress.ended is not None:
            self._stood, self._moved_at, self._is_none = stands, now, False
        elif now - self._moved_at >= _QUIET_S and now - self._looked_at >= _LOOK_S:
            self._looked_at = now
            found = places(self._look(), self._need, self._plan.labels)
            self._is_none = found < self._plan.workers
        return self._is_none

    def _sentence(self, waited_s: float) -> str:
        need = " and ".join(f"{n:g} {name}{'s' if n > 1 else ''}" for name, n in self._need.items())
        runner = (
            "a runner" if self._plan.workers == 1 else f"a runner's {self._plan.workers} workers"
        )
        return f"{MACHINES} for {runner} ({need}): waiting for the cluster, {waited_s:.0f} s"


def _nodes() -> Nodes:
    import ray

    nodes: Nodes = ray.nodes()  # type: ignore[no-untyped-call]
    return nodes
