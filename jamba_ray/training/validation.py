"""Measures how good predictions on the validation rows are.

Letters: K stacked trials, N rows, F_n / F_c numeric / categorical features.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import expit  # type: ignore[import-untyped]
from torch import Tensor

from jamba_ray.config.direction import better, direction_of
from jamba_ray.config.run import TrialConfig
from jamba_ray.config.search import COSTS, Objective
from jamba_ray.data.evasion import FIXED, Attacker
from jamba_ray.data.prepared import PreparedData, Rows
from jamba_ray.data.row_location import Place
from jamba_ray.evaluation import choose_threshold, score, value_of
from jamba_ray.evaluation.objective import value_of_objective
from jamba_ray.training.device_rows import DeviceRows, ResidentRows, rows_on
from jamba_ray.training.ranks import ALONE, Ranks

Floats = npt.NDArray[np.float64]

ROBUSTNESS = "robustness"
"""The objective that is average precision under attack."""
CHUNK_ROWS = {"cpu": 512, "cuda": 16384}
"""Rows x members of one forward pass: on a CPU what stays in cache, on a GPU what fills it."""
_FEWEST_A_MEMBER = 256
"""Below it each operation's own cost shows, also on a CPU (a stack of 16 ``mlp``: 17 % slower)."""
MOST_JUDGED = 8192
"""Validation rows that a report judges at most, unless more are asked for."""
_FEWEST_JUDGED = 2048
_FEWEST_FOR = {"precision_at_alerts_1e-3": 50_000, "recall_at_fpr_1e-3": 20_000}
"""Rows of which a metric rests on a thousandth: 50 alerts, 20 false ones. Of 2,048 it would rest on
two, by which no trial is told from another."""
_FEWEST_THREATS = 250


class Validation:
    """Judges members: at a report on one sample of the validation rows, at their end on all."""

    def __init__(
        self,
        data: PreparedData,
        config: TrialConfig,
        report_rows: int,
        device: str,
        place: Place,
        ranks: Ranks,
    ) -> None:
        rows, self._objectives, self._ranks = data.val, config.objectives, ranks
        self._rows = rows
        n = judged_rows(config.training.val_rows, report_rows, rows.y, self._objectives)
        self._judged = sample(rows, n)
        judged = judged_rows_of(self._judged, self._objectives, data.attacker)
        self._sample = ResidentRows.of(judged, device)
        self._all = rows_on(rows, device, place)

    def logits(self, forward: Callable[[Tensor, Tensor], Tensor], n_members: int) -> Floats:
        """Computes logits [K, N] on the sample."""
        return predict(forward, self._sample, n_members, self._ranks)

    def metrics(self, logits: Floats) -> dict[str, float]:
        """Computes the metrics of one member's logits [N] on the sample."""
        return judge(self._objectives, self._judged.y, probabilities(logits))

    def final(
        self, forward: Callable[[Tensor, Tensor], Tensor]
    ) -> tuple[float, float, dict[str, float]]:
        """Computes objective, threshold and all metrics of one member on all rows."""
        (logits,) = predict(forward, self._all, 1, self._ranks)
        p = probabilities(logits)
        threshold, metrics = final_metrics(self._rows.y, p)
        if ROBUSTNESS not in self._objectives:
            return objective_value(self._objectives[0], self._rows.y, p), threshold, metrics
        (logits,) = predict(forward, self._sample, 1, self._ranks)
        value = objective_value(ROBUSTNESS, self._judged.y, probabilities(logits))
        metrics = {**metrics, f"val/{ROBUSTNESS}": value}
        first = self._objectives[0]
        if first != ROBUSTNESS:
            value = objective_value(first, self._rows.y, p)
        return value, threshold, metrics


def judged_rows_of(rows: Rows, objectives: tuple[str, ...], attacker: Attacker | None) -> Rows:
    """Returns the rows [N] that a report judges; where ``robustness`` decides, ``FIXED`` changes of
    each of the T threats follow them, so that any family scores them alike."""
    if ROBUSTNESS not in objectives:
        return rows
    if attacker is None or rows.raw is None:
        raise ValueError("`robustness` needs the columns of `data.mutable`")
    threats = np.flatnonzero(rows.y == 1.0)
    changes = attacker.fixed(rows.raw[threats])
    own = rows.x_num[threats]
    return Rows(
        x_num=np.concatenate([rows.x_num, *(attacker.applied(own, one) for one in changes)]),
        x_cat=np.concatenate([rows.x_cat, *([rows.x_cat[threats]] * FIXED)]),
        y=np.concatenate([rows.y, np.ones(FIXED * len(threats), dtype=np.float32)]),
    )


def under_attack(y: npt.NDArray[np.float32], p: Floats) -> Floats:
    """Returns the probabilities [N] after each threat took the change with the lowest one; ``p`` is
    of the rows of ``judged_rows_of``."""
    threats = np.flatnonzero(y == 1.0)
    found = p[: len(y)].copy()
    changed = p[len(y) :].reshape(FIXED, len(threats)).min(axis=0)
    found[threats] = np.minimum(found[threats], changed)
    return found


def most_judged(objectives: tuple[str, ...]) -> int:
    """Returns how many validation rows a report judges at most, unless more are asked for."""
    return max(MOST_JUDGED, *(_FEWEST_FOR.get(name, 0) for name in objectives))


def judged_rows(
    limit: int | None, report_rows: int, y: npt.NDArray[np.float32], objectives: tuple[str, ...]
) -> int:
    """Returns how many validation rows a report judges at most.

    Judging a row costs a third of training on it, so a third of the rows trained in between keeps
    it near a tenth of the time. No fewer than 2,048, nor than hold 250 of the rarer class. With
    2,048 of 5,250 rows the best report of a trial was worth 0.00003 of average precision less than
    with all of them (mean of 12 ``mlp`` and of 8 ``attention``, at most 0.0002), trials ranked
    alike at the rungs (Spearman 0.97 to 1.0), and the best trial was the same (2026-11-26). An
    objective that rests on a thousandth of the rows needs more (``_FEWEST_FOR``).

    Args:
        limit: ``training.val_rows``.
        report_rows: Training rows between two reports.
        y: Labels of all validation rows.
        objectives: The metrics that decide.
    """
    if limit is not None:
        return limit
    threats = float(np.count_nonzero(y == 1.0))
    rarer = min(threats, len(y) - threats) / len(y)
    most = most_judged(objectives)
    enough = _FEWEST_THREATS / rarer if rarer else MOST_JUDGED
    fewest = max(_FEWEST_JUDGED, *(_FEWEST_FOR.get(name, 0) for name in objectives))
    return min(most, math.ceil(max(fewest, report_rows / 3, enough)))


def sample(rows: Rows, limit: int) -> Rows:
    """Draws at most ``limit`` rows, stratified by label: one fixed sample, the same for every
    trial."""
    if len(rows) <= limit:
        return rows
    generator = np.random.default_rng(0)
    threats, benign = np.flatnonzero(rows.y == 1.0), np.flatnonzero(rows.y != 1.0)
    n_threats = min(max(round(limit * len(threats) / len(rows)), 1), limit - 1)
    n_threats = min(max(n_threats, limit - len(benign)), len(threats))
    chosen = np.sort(
        np.concatenate(
            [
                generator.choice(threats, n_threats, replace=False),
                generator.choice(benign, limit - n_threats, replace=False),
            ]
        )
    )
    return rows.take(chosen)


def predict(
    forward: Callable[[Tensor, Tensor], Tensor],
    rows: DeviceRows,
    n_members: int,
    ranks: Ranks = ALONE,
) -> Floats:
    """Computes logits on all rows in one pass, [K, N]; ``forward([N, F_n], [N, F_c])`` gives [N] or
    [K, N].

    Ranks take turns with the chunks, and each gets the logits of all rows: metrics come from these,
    never from averages over ranks.
    """
    size = max(CHUNK_ROWS.get(rows.device.type, 4096) // n_members, _FEWEST_A_MEMBER)
    size = min(size, max(-(-len(rows) // ranks.size), 1))
    with torch.inference_mode():
        starts = range(0, len(rows), size)
        pieces: dict[int, Tensor] = {}
        for i in starts[ranks.rank :: ranks.size]:
            piece = forward(*rows.chunk(i, i + size))
            pieces[i] = piece.float().view(n_members, -1)
            ranks.pulse.beat()
        if ranks.size == 1:
            logits = torch.cat(list(pieces.values()), dim=1)
        else:
            # Each row is filled by one rank and zero on the others, so the sum is exact.
            logits = torch.zeros((n_members, len(rows)), device=rows.device)
            for i, piece in pieces.items():
                logits[:, i : i + size] = piece
            ranks.sum_(logits)
    return logits.cpu().numpy().astype(np.float64)


def judge(objectives: tuple[str, ...], y: npt.NDArray[np.float32], p: Floats) -> dict[str, float]:
    """Computes ``val/loss`` (plain log loss, whatever a member's weights) and ``val/...`` of
    each objective that predictions have."""
    ours = [name for name in objectives if name not in COSTS]
    return {
        "val/loss": value_of("log_loss", y, p[: len(y)]),
        **{f"val/{name}": objective_value(name, y, p) for name in ours},
    }


def objective_value(objective: str, y: npt.NDArray[np.float32], p: Floats) -> float:
    """Computes the metric that decides; ``f1`` at its own best threshold."""
    if objective == ROBUSTNESS:
        return value_of("average_precision", y, under_attack(y, p))
    return value_of_objective(objective, y, p[: len(y)])


def final_metrics(y: npt.NDArray[np.float32], p: Floats) -> tuple[float, dict[str, float]]:
    """Returns the threshold with the best F1, and ``val/<metric>`` for all metrics at it."""
    threshold = choose_threshold(y, p)
    return threshold, {f"val/{name}": value for name, value in score(y, p, threshold).items()}


def probabilities(logits: Floats) -> Floats:
    """Computes the sigmoid in float64, so that confident scores stay apart."""
    p: Floats = expit(logits)
    return p


def is_better(objective: Objective, value: float, than: float | None) -> bool:
    """Says whether ``value`` improves on the best so far (None: there is none)."""
    return than is None or better(value, than, direction_of(objective))
