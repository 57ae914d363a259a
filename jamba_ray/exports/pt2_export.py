"""Writes a network with its scaling as a program of ``torch.export``, proven to be equal.

The program takes raw numbers, float64 [N, F_n], and the codes of categories, int64 [N, F_c], and
returns the score, float64 [N]. It belongs to the version of torch that wrote it.

Letters: N rows, F_n / F_c numeric / categorical features.
"""

from __future__ import annotations

import io
import json
import logging
import warnings
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

import jamba_ray
from jamba_ray.data import Preprocessor
from jamba_ray.data.cells import to_numbers
from jamba_ray.data.fitted_columns import NumericColumn
from jamba_ray.data.number_format import PLAIN
from jamba_ray.data.scaling import LIMIT, LinearScale, QuantileScale
from jamba_ray.errors import ConfigError, ParityError
from jamba_ray.exports.cells import described
from jamba_ray.exports.parity import LIMIT as PARITY_LIMIT
from jamba_ray.exports.subject import Subject
from jamba_ray.inference.scorer import Network, config_of, scorer_of

FORMAT = 1
_EXTRA = "model.json"
Inputs: TypeAlias = tuple[Tensor, Tensor]
_NO_RANKS = QuantileScale(1.0, (0.0, 1.0), (0.0, 1.0))


class Scaling(nn.Module):
    """Scales raw numbers float64 [N, F_n] to float32, as ``NumericColumn`` does."""

    fill: Tensor
    low: Tensor
    high: Tensor
    unit: Tensor
    is_linear: Tensor
    center: Tensor
    spread: Tensor
    knots: Tensor
    scores: Tensor
    last: Tensor

    def __init__(self, columns: tuple[NumericColumn, ...]) -> None:
        super().__init__()
        rows = {name: [getattr(c, name) for c in columns] for name in ("fill", "low", "high")} | {
            "unit": [c.scale.unit for c in columns]
        }
        for name, values in rows.items():
            self.register_buffer(name, torch.tensor(values, dtype=torch.float64))
        is_linear = [isinstance(c.scale, LinearScale) for c in columns]
        self.register_buffer("is_linear", torch.tensor(is_linear, dtype=torch.bool))
        for name, default in (("center", 0.0), ("spread", 1.0)):
            held = [getattr(c.scale, name, default) for c in columns]
            self.register_buffer(name, torch.tensor(held, dtype=torch.float64))
        # Columns without knots get two that change nothing; their result is not used.
        ranks = [c.scale if isinstance(c.scale, QuantileScale) else _NO_RANKS for c in columns]
        knots, scores = [r.values for r in ranks], [r.scores for r in ranks]
        most = max(map(len, knots), default=2)
        self.register_buffer("knots", _padded(knots, most, np.inf))
        self.register_buffer("scores", _padded(scores, most, 0.0))
        self.register_buffer("last", torch.tensor([len(k) - 1 for k in knots], dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        """Fills gaps, replaces infinities, and scales."""
        x = torch.where(torch.isnan(x), self.fill, x)
        x = torch.where(x == torch.inf, self.high, x)
        x = torch.where(x == -torch.inf, self.low, x) / self.unit
        linear = ((x - self.center) / self.spread).clamp(-LIMIT, LIMIT)
        first, end = self.knots[:, 0], self.knots.gather(1, self.last.unsqueeze(1)).squeeze(1)
        at = torch.minimum(torch.maximum(x, first), end)
        right = torch.searchsorted(self.knots, at.t().contiguous())
        right = torch.minimum(right.clamp(min=1), self.last.unsqueeze(1))
        left, at = right - 1, at.t()
        low, high = self.knots.gather(1, left), self.knots.gather(1, right)
        low_score, high_score = self.scores.gather(1, left), self.scores.gather(1, right)
        ranked = low_score + (at - low) / (high - low) * (high_score - low_score)
        return torch.where(self.is_linear, linear, ranked.t()).to(torch.float32)


def _padded(rows: list[tuple[float, ...]], width: int, value: float) -> Tensor:
    found = torch.full((len(rows), width), value, dtype=torch.float64)
    for i, row in enumerate(rows):
        found[i, : len(row)] = torch.tensor(row, dtype=torch.float64)
    return found


class Program(nn.Module):
    """Computes scores from raw numbers and codes."""

    def __init__(self, preprocessor: Preprocessor, network: nn.Module) -> None:
        super().__init__()
        self.scaling, self.network = Scaling(preprocessor.numeric), network

    def forward(self, numbers: Tensor, codes: Tensor) -> Tensor:
        """Returns the scores float64 [N]."""
        found: Tensor = torch.sigmoid(self.network(self.scaling(numbers), codes).double())
        return found


def exported(subject: Subject) -> tuple[bytes, str]:
    """Returns the file and what its comparison found, in words; raises ConfigError for a model that
    is no network."""
    snapshot, predictor = subject.saved.snapshot, subject.predictor
    scorer = None
    if not predictor.members:
        scorer = scorer_of(snapshot, config_of(snapshot), predictor.preprocessing.schema)
    if not isinstance(scorer, Network):
        what = "a team of several models" if predictor.members else subject.families[0]
        raise ConfigError(
            [
                f"`format=pt2` holds one network, but the model is {what}. Choose `format=onnx`, "
                "or a trial of a network."
            ]
        )
    module = Program(predictor.preprocessing, scorer.module).eval()
    numbers, codes = _inputs(subject)
    rows = torch.export.Dim("rows", min=2)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        logging.getLogger("torch.export").setLevel(logging.ERROR)
        program = torch.export.export(
            module, (numbers[:7], codes[:7]), dynamic_shapes=({0: rows}, {0: rows})
        )
        buffer = io.BytesIO()
        torch.export.save(program, buffer, extra_files={_EXTRA: json.dumps(_document(subject))})
    raw = buffer.getvalue()
    return raw, _proven(subject, raw)


def verified(subject: Subject, raw: bytes) -> str:
    """Refuses to verify: a program may hold a pickle, and is code that would have to be run.

    Raises:
        ConfigError: Always.
    """
    raise ConfigError(
        [
            "`verify` must be a file that can be read without running it, but a .pt2 file is a "
            "program. Export the model again, which proves what it writes."
        ]
    )


def _proven(subject: Subject, raw: bytes) -> str:
    """Runs what was written and compares it with the model; returns what was found, in words.

    Raises:
        ParityError: It does not give the model's answers.
    """
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.export.load(io.BytesIO(raw))
        found = program.module()(*_inputs(subject)).numpy()
    apart = np.abs(found - subject.scores)
    most = float(np.where(np.isnan(apart), np.inf, apart).max(initial=0.0))
    if len(found) != len(subject.scores) or most > PARITY_LIMIT:
        raise ParityError(
            f"the file must give the model's answers, but a score differs by {most:.1e}. Please "
            "report it."
        )
    return f"{len(found):,} rows: scores differ by at most {most:.1e}"


def _inputs(subject: Subject) -> Inputs:
    """Returns what the program is given for the rows of the subject."""
    preprocessor, frame = subject.predictor.preprocessing, subject.frame
    numbers: list[npt.NDArray[np.float64]] = [
        to_numbers(frame[c.name], preprocessor.formats.get(c.name, PLAIN))
        for c in preprocessor.numeric
    ]
    _, codes = preprocessor.transform(frame)
    stacked = np.stack(numbers, axis=1) if numbers else np.zeros((len(frame), 0))
    return torch.tensor(stacked), torch.tensor(codes)


def _document(subject: Subject) -> dict[str, Any]:
    predictor = subject.predictor
    calibration = predictor.calibration
    return {
        "format": FORMAT,
        "version": jamba_ray.__version__,
        "torch": torch.__version__,
        "numbers": [c.name for c in predictor.preprocessing.numeric],
        "codes": [
            {"feature": c.feature, "categories": list(c.categories)}
            for c in predictor.preprocessing.categorical
        ],
        "columns": described(predictor.preprocessing),
        "thresholds": subject.thresholds,
        "calibration": None if calibration is None else calibration.to_json(),
        "fingerprints": dict(predictor.fingerprints),
    }
