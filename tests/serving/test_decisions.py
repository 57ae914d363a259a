"""Decisions without a server: which version answers, and when a canary must go."""

from __future__ import annotations

import numpy as np
import pytest

from jamba_ray.config.serve import CheckConfig, ServeConfig
from jamba_ray.serving.rollback import Limits, Watch, allowance, tail
from jamba_ray.serving.split import Split, place_of
from jamba_ray.serving.token_file import is_allowed

N = 150
LIMITS = Limits(error_rate=0.01, distance=0.1, alpha=0.1)


def test_a_share_of_keys_and_the_same_ones_always():
    keys = [f"user-{i}" for i in range(20_000)]
    share = len(Split(0.1).others(keys)) / len(keys)
    # Binomial: beyond four standard deviations once in 16,000 times, and the keys are fixed.
    assert share == pytest.approx(0.1, abs=4 * np.sqrt(0.09 / len(keys)))
    assert set(Split(0.1).others(keys)) < set(Split(0.3).others(keys))
    assert place_of("user-1") == place_of(b"user-1")
    assert Split(0.0).others(keys) == []
    assert len(Split(1.0).others(keys)) == len(keys)


def test_the_binomial_tail():
    assert tail(1, 5, 0.001) == pytest.approx(1 - 0.999**5)
    assert tail(2, 70, 0.001) == pytest.approx(1 - 0.999**70 - 70 * 0.001 * 0.999**69)
    assert tail(3, 3, 0.5) == pytest.approx(0.125)
    assert tail(60, 100, 0.5) == pytest.approx(0.028443967, rel=1e-6)


def _taken_back(rng, errors: float, shift: float, rows: int = 2000) -> bool:
    watch = Watch(LIMITS)
    for _ in range(rows // 20):
        if rng.random() < errors:
            if watch.failed() is not None:
                return True
            continue
        other = rng.random(20)
        moved = rng.random(20) < shift
        mine = np.where(moved, 1.0, rng.random(20))
        if watch.scored(mine, other) is not None:
            return True
    return False


def test_a_canary_that_keeps_to_its_limits_is_taken_back_as_rarely_as_said():
    """At the limits themselves: at most alpha. With 150 draws, a rate of 0.1 gives more than 27
    once in 1,000 times."""
    rng = np.random.default_rng(0)
    fired = sum(_taken_back(rng, LIMITS.error_rate, LIMITS.distance) for _ in range(N))
    assert fired <= 27


def test_a_canary_that_fails_or_departs_is_taken_back():
    rng = np.random.default_rng(1)
    assert all(_taken_back(rng, 0.3, 0.0) for _ in range(10))
    assert all(_taken_back(rng, 0.0, 0.5) for _ in range(10))
    watch = Watch(Limits())
    assert "failed on 1 of 1" in str(watch.failed())


def test_looking_all_the_time_without_paying_for_it_takes_good_ones_back():
    """The sabotage twin: the same test at one level for every look fires too often."""
    rng = np.random.default_rng(0)

    def fires() -> bool:
        n = 0
        for failed in range(1, 25):
            n += int(rng.geometric(LIMITS.error_rate))
            if tail(failed, n, LIMITS.error_rate) < LIMITS.alpha / 2:
                return True
        return False

    assert sum(fires() for _ in range(100)) > 15


def test_what_chance_allows_shrinks_with_rows():
    assert allowance(100, 0.05) == pytest.approx(0.1358, abs=1e-3)
    assert allowance(400, 0.05) == pytest.approx(allowance(100, 0.05) / 2)


def test_tokens():
    tokens = (b"a" * 20, b"b" * 20)
    assert is_allowed("Bearer " + "b" * 20, tokens)
    assert is_allowed("bearer  " + "a" * 20, tokens)
    for wrong in (None, "", "Bearer", "Bearer x", "Basic " + "a" * 20, "a" * 20, "Bearer é"):
        assert not is_allowed(wrong, tokens)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"auth": "none", "host": "0.0.0.0"}, "must not answer other machines"),
        ({"canary": "a", "ab": "b"}, "must not be given together"),
        ({"share": 0.1}, "`share` needs `canary` or `ab`"),
        ({"tls": {"cert": "a.pem"}}, "given together"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, says):
    with pytest.raises(ValueError, match=says):
        ServeConfig.model_validate({"model": "m.onnx", **settings})


def test_an_address_with_a_password_is_refused():
    with pytest.raises(ValueError, match="which others would see"):
        CheckConfig.model_validate({"url": "http://a:b@host"})
