"""Measures in this process how many trials of a structure pay off in one stack.

It is apart from ``stacks``, which the study's server loads, so that the server does not load torch.
"""

from __future__ import annotations

from jamba_ray.config.run import TrialConfig
from jamba_ray.data.prepared import PreparedData
from jamba_ray.study.records import Paying
from jamba_ray.training import stack_size
from jamba_ray.training.schedule import Timetable


def what_pays(
    config: TrialConfig, data: PreparedData, device: str, most: int, gpus: float = 1.0
) -> Paying:
    """Probes stacks of up to ``most`` trials like ``config`` on a share ``gpus`` of a GPU (see
    ``training.stack_size``)."""
    probed = stack_size.probe(config, data, device, most, gpus)
    size = stack_size.choose_k(probed) if probed else 1
    return Paying(
        size=size,
        n_batches=n_batches(config, data),
        rows_per_s={str(m.size): round(m.rows_per_s, 1) for m in probed},
        memory_share=probed[0].memory_share if probed else 0.0,
        compiled=stack_size.if_compiled(config, size, device),
    )


def n_batches(config: TrialConfig, data: PreparedData) -> int:
    """Returns the optimizer steps that are expected of a trial that no rung stops."""
    return Timetable.of(config.training, len(data.train)).usual_batches


def in_words(found: Paying) -> str:
    """Returns the measured rates as text, such as ``1: 900, 2: 1,650 rows/s``."""
    return ", ".join(f"{size}: {rate:,.0f}" for size, rate in found.rows_per_s.items()) + " rows/s"
