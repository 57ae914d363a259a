"""Gives a role to a new version when its alias moves, or when it is asked to look.

A model that cannot be loaded takes no place: the one before goes on, and the log says why.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from jamba_ray.errors import JambaError
from jamba_ray.serving.deployment import Deployment, Role
from jamba_ray.serving.model import ServedModel
from jamba_ray.serving.source import Source


@dataclass
class Swapper:
    """Looks for new versions; one thread at a time may call ``look``."""

    deployment: Deployment
    sources: Mapping[Role, Source]
    loaded: dict[Role, ServedModel]
    """What was loaded last for each role, whether or not it was taken back since."""
    on_loaded: Callable[[ServedModel], None] = lambda model: None
    _complaints: dict[Role, str] = field(default_factory=dict)

    def look(self, *, again: bool) -> None:
        """Loads what has changed; ``again``: files and runs too, which say not when they do."""
        for role, source in self.sources.items():
            try:
                self._look(role, source, again=again)
                self._complaints.pop(role, None)
            except JambaError as error:
                self._complain(role, error.message)
            except Exception as error:  # whatever is wrong with a new model, the old one goes on
                self._complain(role, f"{type(error).__name__}: {error}")

    def _look(self, role: Role, source: Source, *, again: bool) -> None:
        if source.is_reference:
            if source.version() == self.loaded[role].version:
                return
        elif not again:
            return
        model = source.read()
        before = self.loaded[role]
        if model.digest == before.digest and model.version == before.version:
            return
        self.loaded[role] = model
        self.deployment.put(role, model)
        self.on_loaded(model)

    def _complain(self, role: Role, why: str) -> None:
        """Logs once why a new model takes no place."""
        if self._complaints.get(role) != why:
            self._complaints[role] = why
            self.deployment.metrics.swap_failures += 1
            self.deployment.tell("not_swapped", role=role, why=why[:500])
