"""The generator: reproducible, honest about its limit, and hard in the way it says."""

from __future__ import annotations

import lightgbm
import numpy as np
import pytest
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, roc_auc_score

from jamba_ray.config.data import SyntheticSection
from jamba_ray.data import generate, prepare
from jamba_ray.errors import DataError

SMALL = SyntheticSection(n_samples=4000)


def test_the_same_section_gives_the_same_rows():
    first, again = generate(SMALL), generate(SMALL)
    assert first.equals(again)
    other = generate(SMALL.model_copy(update={"random_state": 43}))
    assert not first["feature_00"].equals(other["feature_00"])


@pytest.mark.parametrize("random_state", [-1, 0, 2**70])
def test_any_integer_is_a_seed(random_state):
    generate(SyntheticSection(n_samples=200, random_state=random_state))


@pytest.mark.parametrize("ratio", [0.01, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("label_noise", [0.0, 0.2])
def test_threat_ratio_holds(ratio, label_noise):
    section = SyntheticSection(n_samples=20_000, threat_ratio=ratio, label_noise=label_noise)
    frame = generate(section)
    assert frame["bayes"].mean() == pytest.approx(ratio, abs=1e-9)
    # Seven standard deviations: fails by chance once in 4e11 runs, and the seed is fixed besides.
    slack = 7 * np.sqrt(ratio * (1 - ratio) / len(frame))
    assert frame["is_threat"].mean() == pytest.approx(ratio, abs=slack)


def test_bayes_probabilities_are_calibrated():
    """In each of 20 slices by p, threats are binomial with mean p.

    Two-sided at 1e-6 in each slice: a right generator fails once in 50,000 seeds.
    """
    frame = generate(SyntheticSection(n_samples=100_000)).sort_values("bayes")
    limit = norm.isf(0.5e-6)
    for part in np.array_split(np.arange(len(frame)), 20):
        p = frame["bayes"].to_numpy()[part]
        excess = frame["is_threat"].to_numpy()[part].sum() - p.sum()
        assert abs(excess) <= limit * np.sqrt((p * (1 - p)).sum()) + 0.5


def test_calibration_would_fail_for_a_wrong_probability():
    """Sabotage twin: the probabilities before label noise are not calibrated."""
    frame = generate(SyntheticSection(n_samples=100_000))
    p = np.clip((frame["bayes"] - 0.02) / 0.96, 1e-9, 1 - 1e-9)
    top = p.to_numpy().argsort()[-5000:]
    excess = frame["is_threat"].to_numpy()[top].sum() - p.to_numpy()[top].sum()
    spread = np.sqrt((p * (1 - p)).to_numpy()[top].sum())
    assert abs(excess) > norm.isf(0.5e-6) * spread


def test_neither_time_nor_neighbours_say_more_than_bayes():
    """y - p is noise: it correlates with nothing (|z| < 5, once in 1.7 million)."""
    frame = generate(SyntheticSection(n_samples=50_000))
    surprise = (frame["is_threat"] - frame["bayes"]).to_numpy()
    late = np.arange(len(frame)) >= 0.8 * len(frame)
    for other in (np.roll(surprise, 1), late - late.mean(), np.roll(frame["bayes"], 1) - 0.5):
        z = (surprise * other).sum() / np.sqrt((surprise**2 * other**2).sum())
        assert abs(z) < 5


def test_readings_are_correlated_in_time_as_configured():
    frame = generate(
        SyntheticSection(n_samples=50_000, smoothing=0.7, noise=0.5, n_late_families=0)
    )
    x = frame["feature_00"].to_numpy()
    assert x.std() == pytest.approx(1.0, abs=0.05)
    lag_1 = np.corrcoef(x[1:], x[:-1])[0, 1]
    assert lag_1 == pytest.approx(0.7 / (1 + 0.5**2), abs=0.03)  # noise dilutes the signal's 0.7


def test_late_families_are_late_and_change_nothing_before():
    frame = generate(SyntheticSection(n_samples=20_000, n_families=6, n_late_families=2))
    seen = frame.groupby("family")["timestamp"].min()
    start = frame["timestamp"].iloc[int(0.8 * len(frame))]
    assert (seen[["family_04", "family_05"]] >= start).all()
    assert (seen[[f"family_{k:02d}" for k in range(4)]] < start).all()


def test_harder_options_lower_the_limit():
    def limit(**options) -> float:
        frame = generate(SyntheticSection(n_samples=20_000, **options))
        return float(roc_auc_score(frame["is_threat"], frame["bayes"]))

    assert limit(noise=0.0, label_noise=0.0) == pytest.approx(1.0, abs=1e-3)
    assert limit(noise=0.2) > limit(noise=0.5) > limit(noise=1.5)
    assert limit(label_noise=0.0) > limit(label_noise=0.1)


@pytest.mark.parametrize(
    "options",
    [
        {"n_features": 6, "n_families": 16, "n_late_families": 15},
        {"n_features": 512, "n_families": 1, "n_late_families": 0},
        {"smoothing": 0.0, "noise": 0.0, "label_noise": 0.0},
        {"threat_ratio": 0.01, "label_noise": 0.49},
        {"noise": 1e6},
    ],
)
def test_corners(options):
    frame = generate(SyntheticSection(n_samples=300, **options))
    assert frame.notna().all(axis=None)
    assert frame["bayes"].between(0, 1).all()


def test_too_many_cells_are_refused():
    with pytest.raises(DataError, match=r"lower data\.n_samples"):
        generate(SyntheticSection(n_samples=50_000_000, n_features=512))


def test_it_ranks_models():
    """Logistic regression < LightGBM < Bayes, by far more than the noise of a test (~0.005)."""
    data = prepare(SyntheticSection(n_samples=16_000))
    train, test = data.train, data.tests["test"]
    linear = LogisticRegression().fit(train.x_num, train.y)
    trees = lightgbm.LGBMClassifier(n_jobs=1, verbose=-1).fit(train.x_num, train.y)
    scores = {
        "linear": linear.predict_proba(test.x_num)[:, 1],
        "trees": trees.predict_proba(test.x_num)[:, 1],
        "bayes": test.bayes,
    }
    for metric in (roc_auc_score, average_precision_score):
        of = {name: metric(test.y, p) for name, p in scores.items()}
        assert 0.55 < of["linear"] < of["trees"] - 0.1
        assert of["trees"] < of["bayes"] - 0.04
        assert 0.93 < of["bayes"] < 0.98
