"""Offers what a user would train instead: eight libraries' defaults, and LightGBM tuned by Optuna.

A peer is given a frame of features and labels, and returns a function from a frame to the
probability of a threat [N]. Categories are given to libraries as each of them wants it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

Floats: TypeAlias = npt.NDArray[np.float64]
Labels: TypeAlias = npt.NDArray[np.int64]
Scorer: TypeAlias = Callable[[pd.DataFrame], Floats]
Peer: TypeAlias = Callable[..., Scorer]
THREADS = 1
"""A thread each: of several that wait for each other on a busy machine, all are slow."""
TUNED_TRIALS = 50
TUNED = f"LightGBM, {TUNED_TRIALS} trials"


def _is_text(column: pd.Series) -> bool:
    return not pd.api.types.is_numeric_dtype(column)


MOST_CATEGORIES = 250
"""A library takes 255 at most; rarer ones count as missing."""


def _categories(frame: pd.DataFrame) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """Returns a function that makes text columns categorical, by the categories of ``frame``, and
    leaves out columns without any value."""
    kinds = {
        c: pd.CategoricalDtype(
            sorted(frame[c].dropna().astype(str).value_counts().index[:MOST_CATEGORIES])
        )
        for c in frame
        if _is_text(frame[c])
    }

    known = [c for c in frame if frame[c].notna().any()]

    def convert(rows: pd.DataFrame) -> pd.DataFrame:
        made = {
            c: rows[c].astype(str).where(rows[c].notna()).astype(kind) for c, kind in kinds.items()
        }
        return rows.assign(**made)[known]

    return convert


def encoded(frame: pd.DataFrame, one_hot: bool) -> Any:
    """Returns what makes numbers of the columns: one-hot and scaled, or numbered categories."""
    from sklearn.compose import make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

    text = [c for c in frame if _is_text(frame[c])]
    numbers = [c for c in frame if c not in text]
    encoder: Any = (
        OneHotEncoder(handle_unknown="ignore", min_frequency=10, sparse_output=False)
        if one_hot
        else OrdinalEncoder(
            handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-1
        )
    )
    scaler: Any = StandardScaler() if one_hot else "passthrough"
    impute = SimpleImputer(strategy="median", keep_empty_features=True)
    return make_column_transformer((encoder, text), (make_pipeline(impute, scaler), numbers))


def _scikit(make: Callable[[int], Any], one_hot: bool) -> Peer:
    def train(frame: pd.DataFrame, y: Labels, seed: int) -> Scorer:
        from sklearn.pipeline import make_pipeline

        model = make_pipeline(encoded(frame, one_hot), make(seed)).fit(frame, y)
        return lambda rows: model.predict_proba(rows)[:, 1]

    return train


def _logistic(seed: int) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(max_iter=1000, random_state=seed)


def _network(seed: int) -> Any:
    from sklearn.neural_network import MLPClassifier

    return MLPClassifier(random_state=seed)


def _forest(seed: int) -> Any:
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(n_jobs=THREADS, random_state=seed)


def _extra_trees(seed: int) -> Any:
    from sklearn.ensemble import ExtraTreesClassifier

    return ExtraTreesClassifier(n_jobs=THREADS, random_state=seed)


def with_categories(make: Callable[[int], Any]) -> Peer:
    """Returns a peer whose library reads categorical columns itself."""

    def train(frame: pd.DataFrame, y: Labels, seed: int = 0) -> Scorer:
        convert = _categories(frame)
        model = make(seed)
        model.fit(convert(frame), y)
        return lambda rows: np.asarray(model.predict_proba(convert(rows))[:, 1], dtype=np.float64)

    return train


def _histogram(seed: int) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(random_state=seed)


def _lightgbm(seed: int, **settings: Any) -> Any:
    from lightgbm import LGBMClassifier

    return LGBMClassifier(random_state=seed, n_jobs=THREADS, verbose=-1, **settings)


def _xgboost(seed: int) -> Any:
    from xgboost import XGBClassifier

    return XGBClassifier(random_state=seed, n_jobs=THREADS, enable_categorical=True)


def _catboost(frame: pd.DataFrame, y: Labels, seed: int) -> Scorer:
    from catboost import CatBoostClassifier

    text = [c for c in frame if _is_text(frame[c])]
    model = CatBoostClassifier(
        random_seed=seed, thread_count=THREADS, verbose=False, allow_writing_files=False
    )

    def plain(rows: pd.DataFrame) -> pd.DataFrame:
        # Missing cells of text are a category of their own; CatBoost takes no NaN there.
        made = {
            c: rows[c].astype(object).where(rows[c].notna(), "missing").astype(str) for c in text
        }
        return rows.assign(**made)

    model.fit(plain(frame), y, cat_features=text)
    return lambda rows: np.asarray(model.predict_proba(plain(rows))[:, 1], dtype=np.float64)


def _tuned_lightgbm(frame: pd.DataFrame, y: Labels, seed: int) -> Scorer:
    """Tunes LightGBM as an expert would: TPE, 50 trials, early stopping on a fifth of the rows."""
    import lightgbm
    import optuna
    from sklearn.metrics import average_precision_score
    from sklearn.model_selection import train_test_split

    convert = _categories(frame)
    rows = convert(frame)
    fit_rows, held, fit_y, held_y = train_test_split(
        rows, y, test_size=0.2, stratify=y, random_state=seed
    )
    best: dict[str, Any] = {"value": -1.0, "model": None}

    def objective(trial: optuna.Trial) -> float:
        settings = {
            "learning_rate": trial.suggest_float("learning_rate", 0.01, 0.3, log=True),
            "num_leaves": trial.suggest_int("num_leaves", 7, 255, log=True),
            "min_child_samples": trial.suggest_int("min_child_samples", 2, 100, log=True),
            "colsample_bytree": trial.suggest_float("colsample_bytree", 0.4, 1.0),
            "subsample": trial.suggest_float("subsample", 0.4, 1.0),
            "subsample_freq": 1,
            "reg_lambda": trial.suggest_float("reg_lambda", 1e-3, 10.0, log=True),
        }
        model = _lightgbm(seed, n_estimators=1000, **settings)
        stop = lightgbm.early_stopping(50, verbose=False)
        metric = "average_precision"
        model.fit(fit_rows, fit_y, eval_set=[(held, held_y)], eval_metric=metric, callbacks=[stop])
        value = float(average_precision_score(held_y, model.predict_proba(held)[:, 1]))
        if value > best["value"]:
            best.update(value=value, model=model)
        return value

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
    study.optimize(objective, n_trials=TUNED_TRIALS)
    model = best["model"]
    return lambda new: np.asarray(model.predict_proba(convert(new))[:, 1], dtype=np.float64)


PEERS: dict[str, Peer] = {
    "logistic regression": _scikit(_logistic, one_hot=True),
    "MLP (scikit-learn)": _scikit(_network, one_hot=True),
    "random forest": _scikit(_forest, one_hot=False),
    "ExtraTrees": _scikit(_extra_trees, one_hot=False),
    "HistGradientBoosting": with_categories(_histogram),
    "LightGBM": with_categories(_lightgbm),
    "XGBoost": with_categories(_xgboost),
    "CatBoost": _catboost,
    TUNED: _tuned_lightgbm,
}
