"""Generates telemetry with attacks that hide in interactions, from a seed, and the exact limit of
any model.

What is drawn, in this order (N rows in time, D features, K families):

1. *Readings* z [N, D]: each feature follows an exponential moving average of white noise
   (stationary, unit variance; neighbours in time correlate by ``smoothing``) and is read with
   measurement noise. One feature in five is log-normal, as byte counts and durations are.
2. *Evidence* s [N]: family k has a gate feature g, a pair (a, b) and a sign c, and contributes
   ``ramp(z_g) * c * tanh(2 z_a) * tanh(2 z_b)``: only while the gate is open, only the *pair*
   tells, and neither half of the pair alone says anything. The families' sum has spread 1, plus a
   weak linear effect of the gates (0.3 of that spread), all that a linear model can find.
3. *Labels*: ``q = Phi(2 s / noise - t)``, where t is solved so that q averages ``threat_ratio``;
   then labels are flipped (``label_noise``) and y ~ Bernoulli(p).

So p, the probability of a threat given the readings, is known exactly for every row, and since a
label depends on its own row alone, nothing else observable (time, neighbours) says more: no model
can expect to rank better than p. ``noise`` blurs both the readings in time and the boundary between
the classes.

*Late* families have a gate feature that is quiet (closed, always) until the last fifth of the rows.
The law p(readings) is the same at all times, but before then nobody has seen where they strike: a
split by time tests on attacks that training never saw, a random one does not.

Label noise keeps ``threat_ratio``: the rarer class loses the share ``label_noise`` of its rows and
receives as many of the other class. (At a ratio of one half that is ``label_noise`` of all rows.)

How hard it is: ROC AUC on the 5,250 test rows of the defaults, ``random_state`` 42 / 1 / 2,
after ``prepare`` (2 cores of an AMD EPYC, 2026-11-21):

    Bayes                              0.965  0.963  0.965
    LightGBM, 500 trees                0.928  0.923  0.928
    scikit-learn's MLP, 2 x 128        0.891  0.882  0.889
    LightGBM, defaults (100 trees)     0.882  0.855  0.873
    logistic regression                0.628  0.623  0.625

A test holds LightGBM and logistic regression to this order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import ndtr  # type: ignore[import-untyped]

from jamba_ray.config.data import SyntheticSection
from jamba_ray.errors import DataError

Floats = npt.NDArray[np.float64]

TARGET, TIMESTAMP, GROUP, BAYES = "is_threat", "timestamp", "family", "bayes"
LATE_FROM = 0.8
"""Share of the rows before which late families do not occur."""
BENIGN = "benign"

_GATE_OPENS, _GATE_WIDTH = -0.3, 0.6
_LINEAR = 0.3
_BOUNDARY = 2.0
_MAX_CELLS = 2_000_000_000


@dataclass(frozen=True)
class Family:
    """Describes an attack family: where it looks, and which sign of the pair's product means a
    threat."""

    gate: int
    pair: tuple[int, int]
    sign: int
    late: bool


def generate(section: SyntheticSection) -> pd.DataFrame:
    """Generates the rows in order of time, the same for the same section.

    Columns: ``timestamp`` (one a minute), ``feature_00`` .., ``family`` (``benign`` or the family
    that explains the threat best), ``is_threat`` (0/1) and ``bayes`` (the true probability of a
    threat; never a feature). Raises DataError for more than 2e9 cells.
    """
    n, d = section.n_samples, section.n_features
    if n * d > _MAX_CELLS:
        raise DataError(
            f"synthetic data may have {_MAX_CELLS:,} cells, but n_samples x n_features is "
            f"{n * d:,}; "
            "lower data.n_samples."
        )
    # Independent streams: a change of one option leaves what the others draw as it was.
    roles, signal, reading, labelling = np.random.default_rng(section.random_state % 2**64).spawn(4)
    families = draw_families(section, roles)
    z = _readings(section, families, signal, reading)
    evidence = np.stack([_evidence(z, family) for family in families], axis=1)
    p = threat_probability(section, families, z, evidence)
    y = labelling.random(n) < p
    named = _attribute(evidence, families, n, labelling)
    width = max(2, len(str(d - 1)))
    return pd.DataFrame(
        {
            TIMESTAMP: np.datetime64("2026-01-01T00:00", "s")
            + np.arange(n) * np.timedelta64(60, "s"),
            **{f"feature_{j:0{width}d}": _as_measured(z[:, j], j) for j in range(d)},
            GROUP: np.where(y, named, BENIGN),
            TARGET: y.astype(np.int64),
            BAYES: p,
        }
    )


def draw_families(section: SyntheticSection, rng: np.random.Generator) -> tuple[Family, ...]:
    """Assigns every family its features; features are shared only once all have a role.

    The gates of late families serve nobody else, since they are quiet most of the time.
    """
    d, n_late = section.n_features, section.n_late_families
    order = rng.permutation(d)
    n_reserved = min(n_late, d // 6)
    reserved, shared = order[:n_reserved], order[n_reserved:]
    queue: list[int] = []
    families = []
    for k in range(section.n_families):
        late = k >= section.n_families - n_late
        features: list[int] = [int(reserved[k % n_reserved])] if late else []
        while len(features) < 3:
            queue = queue or rng.permutation(shared).tolist()
            # The first in the queue that the family lacks; a fresh round if there is none.
            fresh = next((f for f in queue if f not in features), None)
            if fresh is None:
                queue = []
                continue
            queue.remove(fresh)
            features.append(fresh)
        gate, a, b = features
        families.append(Family(gate, (a, b), int(rng.choice((-1, 1))), late))
    return tuple(families)


def threat_probability(
    section: SyntheticSection, families: tuple[Family, ...], z: Floats, evidence: Floats
) -> Floats:
    """Computes p [N], the probability of a threat given the readings z [N, D] and evidence [N,
    K]."""
    gates = sorted({family.gate for family in families if not family.late})
    score = _unit(evidence.sum(axis=1)) + _LINEAR * _unit(z[:, gates].sum(axis=1))
    score = score * (_BOUNDARY / max(section.noise, 0.01))

    # It takes half a second to import, which those who train on a table need not pay.
    from scipy.optimize import brentq  # type: ignore[import-untyped]

    def excess(t: float) -> float:
        return float(ndtr(score - t).mean()) - section.threat_ratio

    threshold = brentq(excess, score.min() - 40.0, score.max() + 40.0, xtol=1e-12)
    clean = ndtr(score - threshold)
    flipped = section.label_noise * min(section.threat_ratio, 1.0 - section.threat_ratio)
    missed, invented = flipped / section.threat_ratio, flipped / (1.0 - section.threat_ratio)
    p: Floats = clean * (1.0 - missed) + (1.0 - clean) * invented
    return p


def _readings(
    section: SyntheticSection,
    families: tuple[Family, ...],
    signal: np.random.Generator,
    reading: np.random.Generator,
) -> Floats:
    shape, a = (section.n_samples, section.n_features), section.smoothing
    shocks = signal.standard_normal(shape)
    # The average of these has unit variance; the first row is drawn from the stationary law.
    shocks[1:] *= np.sqrt((1.0 + a) / (1.0 - a))
    z: Floats = pd.DataFrame(shocks).ewm(alpha=1.0 - a, adjust=False).mean().to_numpy(copy=True)
    z += section.noise * reading.standard_normal(shape)
    z /= np.sqrt(1.0 + section.noise**2)
    early = slice(0, int(LATE_FROM * section.n_samples))
    for gate in {family.gate for family in families if family.late}:
        z[early, gate] = _GATE_OPENS - 0.5 * np.abs(z[early, gate])
    return z


def _evidence(z: Floats, family: Family) -> Floats:
    a, b = family.pair
    gate = np.clip((z[:, family.gate] - _GATE_OPENS) / _GATE_WIDTH, 0.0, 1.0)
    evidence: Floats = gate * family.sign * np.tanh(2.0 * z[:, a]) * np.tanh(2.0 * z[:, b])
    return evidence


def _attribute(
    evidence: Floats, families: tuple[Family, ...], n: int, rng: np.random.Generator
) -> npt.NDArray[np.str_]:
    """Draws the family [N] that a threat is put down to, by softmax of the evidence.

    A late family is never named before its time.
    """
    logits = 6.0 * evidence
    early = np.arange(n) < int(LATE_FROM * n)
    for k, family in enumerate(families):
        if family.late:
            logits[early, k] = -np.inf
    drawn = np.argmax(logits + rng.gumbel(size=logits.shape), axis=1)  # the Gumbel trick
    names = np.array([f"family_{k:02d}" for k in range(len(families))])
    drawn_names: npt.NDArray[np.str_] = names[drawn]
    return drawn_names


def _as_measured(z: Floats, feature: int) -> Floats:
    """Makes every fifth feature a count: log-normal, around 1,000, with a heavy tail."""
    return np.exp(7.0 + 1.5 * z) if feature % 5 == 4 else z


def _unit(values: Floats) -> Floats:
    spread = values.std()
    return values / spread if spread > 0 else values
