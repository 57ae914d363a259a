"""Resources and labels of nodes: what is read, and what is refused with a way out."""

from __future__ import annotations

import re

import pytest
from pydantic import ValidationError

from jamba_ray.cli.composition import compose_section
from jamba_ray.config.fingerprint import fingerprint
from jamba_ray.config.run import SweepConfig

TREE = {"model": {"name": "mlp"}, "data": {"name": "synthetic"}}


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            {"resources": {"GPU": 1}},
            "has 'GPU', which another setting is for. Set `gpus_per_trial`",
        ),
        ({"resources": {"CPU": 1}}, "Set `cpus_per_trial`"),
        ({"resources": {"fpga": 0}}, "must give numbers above 0, but 'fpga' is 0"),
        ({"resources": {"fpga": "one"}}, "must give numbers above 0, but 'fpga' is 'one'"),
        ({"resources": {"fpga": 1.5}}, "must give whole numbers where they are above 1"),
        ({"resources": {"a b": 1}}, "must name resources as Ray nodes do, but has 'a b'"),
        ({"labels": {"zone": 1}}, "must map labels of Ray nodes to text, but 'zone' is 1"),
        ({"workers_per_trial": [8, 2]}, "[least, most] with 1 <= least < most, but is [8, 2]"),
        ({"workers_per_trial": [2, 4, 8]}, "but is [2, 4, 8]"),
        ({"gpus_per_trial": 0.5, "workers_per_trial": 2}, "must be 1, 0 or unset with several"),
        ({"gpus_per_trial": 2}, "less than or equal to 1"),
        ({"cv": {"folds": 3}, "workers_per_trial": [1, 4]}, "to be 1, but it is 4"),
    ],
)
def test_what_no_node_can_give_is_refused(settings, sentence):
    with pytest.raises(ValidationError, match=re.escape(sentence)):
        SweepConfig.model_validate({**TREE, **settings})


def test_the_command_line_reads_them_as_people_write_them():
    words = [
        *("model=mlp", "resources={accelerator_type:H100: 0.01, fpga: 1}"),
        *("labels={ray.io/market-type: spot}", "workers_per_trial=[2,8]", "cpus_per_trial=3"),
    ]
    found = compose_section(SweepConfig, "config", words)
    assert found.resources == {"accelerator_type:H100": 0.01, "fpga": 1}
    assert found.labels == {"ray.io/market-type": "spot"}
    assert found.workers_per_trial == (2, 8)
    # Where trials run does not make another experiment.
    assert fingerprint(found) == fingerprint(compose_section(SweepConfig, "config", words[:1]))
