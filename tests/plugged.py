"""Forgets what plug-ins have registered in this process, so that no test finds that of another."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

from jamba_ray.config import family, plugin_modules, plugins
from jamba_ray.estimators import estimator
from jamba_ray.evaluation import metrics
from jamba_ray.models import registry


@contextlib.contextmanager
def forgotten(*modules: str) -> Iterator[None]:
    """Restores all registries at its end, and forgets the imported ``modules``."""
    known = (
        *(family.FAMILIES, family.TRAINERS, registry.BUILDERS, estimator.ESTIMATORS),
        *(metrics.METRICS, plugins.METRICS, plugins.LOSSES, plugins.SAMPLERS, plugins.PRUNERS),
        *(plugins.CALLBACKS, plugins.TROUBLES, plugins.TRACKERS, plugin_modules.LOADED),
    )
    before = [dict(one) for one in known]
    path, finders, alone = list(sys.path), list(sys.meta_path), set(family.ALONE)
    try:
        yield
    finally:
        for one, kept in zip(known, before, strict=True):
            one.clear()
            one.update(kept)
        sys.path[:], sys.meta_path[:] = path, finders
        family.ALONE.clear()
        family.ALONE.update(alone)
        for name in [n for n in sys.modules if n.split(".")[0] in modules]:
            del sys.modules[name]
