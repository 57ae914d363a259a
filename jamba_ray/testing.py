"""Offers the tests that model families and trackers must pass, ours and those of plug-ins.

class TestWide(jamba_ray.testing.FamilyContract):
    family = "wide"
    plugins = ("threats",)

class TestLines(jamba_ray.testing.TrackerContract):
    tracker = "lines"
    plugins = ("threats",)

A test runner such as pytest finds its ``test_`` methods; each trains a few hundred rows.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pandas as pd

from jamba_ray.checkpoints import Snapshot, read_checkpoint, write_checkpoint
from jamba_ray.config import plugin_modules
from jamba_ray.config.data import TableSection
from jamba_ray.config.family import FAMILIES, TRAINERS, stacks
from jamba_ray.config.mistakes import validate
from jamba_ray.config.run import TrialConfig
from jamba_ray.config.section import is_stackable
from jamba_ray.data import PreparedData, prepare_frame
from jamba_ray.inference import Predictor
from jamba_ray.tracking.contract import TrackerContract
from jamba_ray.training import Decision, Member, Outcome, Report, fit

__all__ = ["FamilyContract", "TrackerContract"]

Floats = npt.NDArray[np.float64]
_N_ROWS = 400
_SHAPES = {"numbers": (3, 0), "categories": (0, 2), "one column": (1, 0)}


class FamilyContract:
    """Checks one model family: subclass it with the family's name.

    Rows of one class never reach a family: the data are refused before it is trained.
    """

    family: ClassVar[str]
    """``model.name``."""
    settings: ClassVar[Mapping[str, Any]] = {}
    """Settings of the model with which it trains quickly."""
    plugins: ClassVar[Sequence[str]] = ()
    """Modules to import first."""
    draws: ClassVar[bool] = True
    """Whether another seed gives another model."""

    @classmethod
    def setup_class(cls) -> None:
        """Imports the plug-ins."""
        plugin_modules.load(cls.plugins)
        _TRAINED.clear()

    def test_its_section_says_what_each_setting_is(self) -> None:
        """Checks that defaults are valid, and that the family and each field have a line for the
        help."""
        assert self.family in FAMILIES, f"no family is called {self.family!r}"
        section = FAMILIES[self.family]
        assert section.model_validate({"name": self.family}).name == self.family
        assert (section.__doc__ or "").strip(), f"{section.__name__} has no docstring"
        bare = [n for n, f in section.model_fields.items() if n != "name" and not f.description]
        assert not bare, f"these settings have no docstring below them: {', '.join(bare)}"

    def test_it_gives_each_row_a_probability(self) -> None:
        """Checks that any row has a score in [0, 1]: one alone, none, missing and extreme cells."""
        data, frame = _table(2, 2)
        predictor = Predictor(self._trained(data))
        scores = predictor.predict_proba(frame)
        assert scores.shape == (len(frame),)
        odd = frame.head(4).copy()
        odd.iloc[0] = None
        odd.iloc[1, 0], odd.iloc[2, 0] = 1e30, -1e30
        odd.iloc[3, 2] = "never seen"
        for rows in (frame, odd, frame.head(1), frame.head(0)):
            p = predictor.predict_proba(rows)
            assert p.shape == (len(rows),)
            assert ((p >= 0.0) & (p <= 1.0)).all()
        for some in (slice(0, 1), slice(7, 30)):
            alone = predictor.predict_proba(frame.iloc[some])
            np.testing.assert_allclose(
                alone, scores[some], atol=1e-5, err_msg="a row's score depends on the others"
            )

    def test_any_columns_will_do(self) -> None:
        """Checks that it trains on numbers alone, on categories alone, and on one column."""
        for what, (n_numbers, n_categories) in _SHAPES.items():
            data, frame = _table(n_numbers, n_categories)
            scores = Predictor(self._trained(data, seed=1)).predict_proba(frame)
            assert np.isfinite(scores).all(), f"trained on {what}, it gives no finite scores"

    def test_equal_seeds_train_equal_models(self) -> None:
        """Checks that a trial which was killed and begins again becomes what it was."""
        data, frame = _table(2, 2)
        first, again, other = (
            Predictor(self._trained(data, seed=seed, anew=seed == 0 and i > 0)).predict_proba(frame)
            for i, seed in enumerate((0, 0, 5))
        )
        np.testing.assert_array_equal(again, first, err_msg="the seed does not fix the model")
        if self.draws:
            assert (other != first).any(), "another seed gives the same model"

    def test_what_is_saved_scores_the_same(self) -> None:
        """Checks that the checkpoint on disk, which holds no code, gives the same scores."""
        data, frame = _table(2, 2)
        snapshot = self._trained(data)
        with tempfile.TemporaryDirectory() as folder:
            write_checkpoint(snapshot, Path(folder) / "saved", 0, 1)
            _, loaded = read_checkpoint(Path(folder) / "saved")
        np.testing.assert_array_equal(
            Predictor(loaded).predict_proba(frame), Predictor(snapshot).predict_proba(frame)
        )

    def test_it_stacks_or_says_that_it_does_not(self) -> None:
        """Checks that trials which train as one batched model are what each is alone."""
        if TRAINERS[self.family] != "gradient":
            assert not stacks(self.family)
            return
        data, _ = _table(2, 2)
        rates = self._rates()
        members = [self._member(seed, rate) for seed, rate in enumerate(rates)]
        together = fit(members, data, _goes_on)
        for member, outcome in zip(members, together, strict=True):
            (alone,) = fit([member], data, _goes_on)
            stacked, single = _whole(outcome), _whole(alone)
            for name, array in single.tensors.items():
                np.testing.assert_allclose(
                    stacked.tensors[name],
                    array,
                    rtol=1e-3,
                    atol=2e-4,
                    err_msg=f"{name} differs in a stack; register it with `stacks=False`",
                )

    # -- what the tests share --------------------------------------------------------------

    def _trained(self, data: PreparedData, seed: int = 0, anew: bool = False) -> Snapshot:
        key = (self.family, data.fingerprint, seed)
        if anew or key not in _TRAINED:
            (outcome,) = fit([self._member(seed)], data, _goes_on)
            _TRAINED[key] = _whole(outcome)
        return _TRAINED[key]

    def _member(self, seed: int, more: Mapping[str, Any] | None = None) -> Member:
        tree = {
            "model": {"name": self.family, **self.settings, **(more or {})},
            "training": {"epochs": 2, "batch_size": 64, "report_rows": 300},
            "seed": seed,
            "compile": False,
        }
        return Member(seed, validate(TrialConfig, tree))

    def _rates(self) -> list[dict[str, Any]]:
        """Returns two settings that members of a stack may differ in."""
        field = FAMILIES[self.family].model_fields.get("dropout_rate")
        if field is None or not is_stackable(field):
            return [{}, {}]
        return [{"dropout_rate": 0.1}, {"dropout_rate": 0.3}]


_TRAINED: dict[tuple[str, str, int], Snapshot] = {}
_TABLES: dict[tuple[int, int], tuple[PreparedData, pd.DataFrame]] = {}


def _table(n_numbers: int, n_categories: int) -> tuple[PreparedData, pd.DataFrame]:
    """Returns rows with missing cells, prepared, and as a user has them."""
    key = (n_numbers, n_categories)
    if key not in _TABLES:
        rng = np.random.default_rng(0)
        y = (rng.random(_N_ROWS) < 0.4).astype(np.float32)
        columns: dict[str, Any] = {}
        for i in range(n_numbers):
            x = rng.normal(size=_N_ROWS) + y * (1.0 - 0.3 * i)
            columns[f"number_{i}"] = np.where(rng.random(_N_ROWS) < 0.05, np.nan, x)
        for i in range(n_categories):
            codes = (rng.integers(0, 3 + i, _N_ROWS) + y.astype(int)) % (3 + i)
            columns[f"category_{i}"] = pd.Series(np.array(list("abcdefgh"))[codes])
        frame = pd.DataFrame(columns)
        section = TableSection.model_validate({"name": "table", "path": "rows"})
        _TABLES[key] = prepare_frame(frame, y, section), frame
    return _TABLES[key]


def _whole(outcome: Outcome) -> Snapshot:
    assert outcome.checkpoint is not None, f"the trial ended as {outcome.state}: {outcome.reason}"
    return outcome.checkpoint


def _goes_on(reports: Sequence[Report]) -> list[Decision]:
    return ["continue" for _ in reports]
