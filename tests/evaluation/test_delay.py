"""Tests of the delay until a group's first alert."""

import json

import numpy as np
import pytest

from jamba_ray.evaluation.delay import detection_delay


def test_delays_by_hand():
    #        a: malicious at 2, alert at 5 (2 rows later); b: at once; c: never; d: benign alone
    group = np.array(list("aaaaabbcccd"))
    time = np.array([1, 2, 3, 5, 9, 4, 6, 1, 2, 3, 7]) * 60
    y = np.array([0, 1, 0, 1, 1, 1, 0, 0, 1, 1, 0])
    # The false alerts of c's first and a's third row end no delay.
    p = np.array([0.1, 0.1, 0.9, 0.9, 0.9, 0.8, 0.0, 0.9, 0.1, 0.4, 0.9])
    shuffled = np.random.default_rng(0).permutation(len(y))
    dates = np.datetime64("2026-01-01") + time.astype("timedelta64[s]")
    for rows in (np.arange(len(y)), shuffled):
        found = detection_delay(y[rows], p[rows], group[rows], dates[rows], 0.5)
        assert found["groups"] == 3
        assert found["found"]["value"] == pytest.approx(2 / 3)
        assert found["at_once"] == 1
        assert found["rows"] == {"median": 2.0, "p90": None}
        assert found["time"] == {"median": 180.0, "p90": None}
        assert found["slowest"][0] == {"group": "c", "rows": None, "time": None}
        assert found["slowest"][1] == {"group": "a", "rows": 2.0, "time": 180.0}
    json.dumps(found, allow_nan=False)
    assert detection_delay(y, p, group, time, 0.5)["time"]["median"] == 180.0
    assert detection_delay(y, p, group, time, 0.5)["unit"] == "of the timestamp"


def test_a_lower_threshold_never_lengthens_a_delay():
    rng = np.random.default_rng(0)
    y, p = (rng.random(500) < 0.3).astype(int), rng.random(500)
    group, time = rng.integers(0, 20, 500).astype(str), rng.random(500)
    medians = [detection_delay(y, p, group, time, cut)["time"]["median"] for cut in (0.2, 0.5, 0.8)]
    assert medians == sorted(medians)


def test_nothing_is_said_without_time_groups_or_threats():
    y, p, group, time = np.array([1, 0]), np.array([0.5, 0.5]), np.array(["a", "b"]), np.arange(2)
    assert detection_delay(y, p, None, time, 0.5) is None
    assert detection_delay(y, p, group, None, 0.5) is None
    assert detection_delay(0 * y, p, group, time, 0.5) is None
