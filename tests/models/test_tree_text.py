"""No text of trees reaches LightGBM unless it is one that LightGBM could have written."""

import os
import re
import subprocess
import sys

import lightgbm
import numpy as np
import pytest

from jamba_ray.config.model import LightgbmSection
from jamba_ray.errors import CheckpointError
from jamba_ray.models.lightgbm import lightgbm_params
from jamba_ray.models.tree_text import read_trees
from tests.models.tree_fuzz import N_FEATURES, joined, parts


def grown(rounds=4, n_categories=70, scale=1.0, **settings):
    """A model as training grows it, with missing values and a categorical feature."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1500, N_FEATURES)) * scale
    x[:, 3] = rng.integers(0, n_categories, 1500)
    x[::7, 1], x[::5, 2] = np.nan, 0.0
    y = (rng.random(1500) < np.where((x[:, 3] % 3 == 0) | (x[:, 0] > 1), 0.9, 0.1)).astype(float)
    section = LightgbmSection(**{"num_leaves": 8, "min_child_samples": 5, **settings})
    params = lightgbm_params(section, seed=0, n_threads=1) | {
        "min_data_per_group": 5,
        "cat_smooth": 1.0,
    }
    rows = lightgbm.Dataset(x, y, categorical_feature=[3], params=params)
    return lightgbm.train(params, rows, rounds), x


@pytest.fixture(scope="module")
def text():
    found = grown()[0].model_to_string()
    assert "cat_boundaries" in found
    return found


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"num_leaves": 2},
        {"num_leaves": 300, "min_child_samples": 1},
        {"min_child_samples": 10_000},  # no split at all: a tree of one leaf
        {"subsample": 0.5, "colsample_bytree": 0.5, "max_depth": 3},
        {"scale": 1e300, "reg_alpha": 1.0, "max_bin": 3},
        {"scale": 1e-300},
        {"learning_rate": 1.0, "reg_lambda": 0.0, "min_child_weight": 0.0, "rounds": 60},
        {"n_categories": 2},
    ],
)
def test_what_lightgbm_writes_is_read_and_answers_the_same(settings):
    booster, x = grown(**settings)
    for rounds in (-1, 1):
        written = booster.model_to_string(num_iteration=rounds).encode()
        read = read_trees(written, N_FEATURES, "model.txt")
        expected = booster.predict(x, num_iteration=rounds)
        np.testing.assert_array_equal(read.predict(x), expected)
        # What was read is written again when a trial resumes.
        again = read.model_to_string().encode()
        np.testing.assert_array_equal(
            read_trees(again, N_FEATURES, "model.txt").predict(x), expected
        )


def in_tree(key, change):
    """An edit of the first tree that has ``key``; sizes agree."""

    def edit(text):
        head, trees, tail = parts(text)
        at = next(i for i, tree in enumerate(trees) if f"\n{key}=" in tree)
        trees[at] = re.sub(
            rf"(?<=\n{key}=).*", lambda m: " ".join(change(m[0].split(" "))), trees[at], count=1
        )
        return joined(head, trees, tail)

    return edit


def in_text(old, new):
    def edit(text):
        assert re.search(old, text)
        return re.sub(old, new, text, count=1)

    return edit


def chain(depth):
    """The text with one tree instead, of one long branch."""

    def edit(text):
        left, right = [*range(1, depth), -1], [-2 - i for i in range(depth)]
        sized = {"leaf": ("value", "weight", "count"), "internal": ("value", "weight", "count")}
        ones = {
            f"{k}_{n}": [1] * (depth + (k == "leaf")) for k, all_ in sized.items() for n in all_
        }
        splits = {k: [0] * depth for k in ("split_feature", "split_gain", "threshold")}
        fields = {"num_leaves": [depth + 1], "num_cat": [0], **splits}
        fields |= {"decision_type": [2] * depth, "left_child": left, "right_child": right, **ones}
        fields |= {"is_linear": [0], "shrinkage": [1]}
        lines = [f"{key}={' '.join(map(str, values))}" for key, values in fields.items()]
        head, _, tail = parts(text)
        return joined(head, ["\n".join(["Tree=0", *lines, "", "", ""])], tail)

    return edit


ATTACKS = {
    "as deep as ends the process": chain(100_000),
    "too deep": chain(4097),
    "feature out of range": in_tree("split_feature", lambda v: ["4", *v[1:]]),
    "negative feature": in_tree("split_feature", lambda v: ["-1", *v[1:]]),
    "child out of range": in_tree("left_child", lambda v: ["100000000", *v[1:]]),
    "leaf out of range": in_tree("right_child", lambda v: [*v[:-1], "-99"]),
    "the root as child": in_tree("left_child", lambda v: [*v[:-1], "0"]),
    "cycle": in_tree("left_child", lambda v: [v[0], "1", *v[2:]]),
    "two parents": in_tree("right_child", lambda v: [v[1], *v[1:]]),
    "a child less": in_tree("left_child", lambda v: v[1:]),
    "no leaves": in_tree("num_leaves", lambda v: ["0"]),
    "a leaf more": in_tree("num_leaves", lambda v: ["9"]),
    "all of memory": in_tree("num_leaves", lambda v: ["2147483647"]),
    "negative size": in_tree("num_leaves", lambda v: ["-5"]),
    "categories": in_tree("num_cat", lambda v: ["2147483646"]),
    "no categories": in_tree("num_cat", lambda v: ["0"]),
    "bitset past the end": in_tree("cat_boundaries", lambda v: [*v[:-1], "100000000"]),
    "bitset before the start": in_tree("cat_boundaries", lambda v: ["-9", *v[1:]]),
    "bitsets that fall": in_tree("cat_boundaries", lambda v: ["0", "5", *v[2:]][: len(v)][::-1]),
    "bitset too short": in_tree("cat_threshold", lambda v: v[1:]),
    "no number": in_tree("leaf_value", lambda v: ["x", *v[1:]]),
    "a value less": in_tree("leaf_value", lambda v: v[1:]),
    "decision": in_tree("decision_type", lambda v: ["127", *v[1:]]),
    "numeric as categorical": in_tree("decision_type", lambda v: ["1" for _ in v]),
    "linear": in_tree("is_linear", lambda v: ["1"]),
    "no classes": in_text("num_class=1", "num_class=0"),
    "no trees a round": in_text("per_iteration=1", "per_iteration=0"),
    "all classes": in_text("per_iteration=1", "per_iteration=2147483647"),
    "a feature more": in_text("max_feature_idx=3", "max_feature_idx=4"),
    "no features": in_text("max_feature_idx=3", "max_feature_idx=-1"),
    "objective": in_text("sigmoid:1", "sigmoid:-1"),
    "another objective": in_text("objective=binary sigmoid:1", "objective=lambdarank"),
    "size": in_text(r"tree_sizes=\d+", "tree_sizes=99999999"),
    "sizes": in_text(r"tree_sizes=(\d+)", r"tree_sizes=\1 \1"),
    "no sizes": in_text(r"tree_sizes=.*\n", ""),
    "names": in_text("Column_1 Column_2", "Column_1"),
    "infos": in_text("feature_infos=", "feature_infos=none "),
    "parameter": in_text(r"\[seed: 0\]", "[seed]"),
    "quoted parameter": in_text(r"\[seed: 0\]", '[data: "]'),
    "a file to read": in_text(r"\[forcedsplits_filename: \]", "[forcedsplits_filename: x]"),
    "machines": in_text(r"\[num_machines: 1\]", "[num_machines: 2]"),
    "prediction": in_text(r"\[seed: 0\]", "[pred_early_stop: 1]"),
    "no JSON": in_text("pandas_categorical:null", "pandas_categorical:{"),
    "nothing": lambda text: "",
    "no ASCII": in_text("end of trees", "end of trées"),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_a_crafted_text_is_refused(text, name):
    edited = ATTACKS[name](text)
    assert edited != text
    with pytest.raises(CheckpointError, match=r"^`model.txt` is no LightGBM model \(.*\)\. Use an"):
        read_trees(edited.encode(), N_FEATURES, "model.txt")


def test_the_edits_alone_do_no_harm(text):
    """Sabotage twin: an edit that changes nothing is accepted, so refusals are for the content."""
    for key in ("left_child", "cat_boundaries", "leaf_value"):
        assert in_tree(key, lambda values: values)(text) == text
    assert read_trees(text.encode(), N_FEATURES, "model.txt").num_trees() == 4
    deep = read_trees(chain(4096)(text).encode(), N_FEATURES, "model.txt")
    assert deep.predict(np.zeros((1, N_FEATURES)), pred_contrib=True).shape == (1, 5)
    with pytest.raises(CheckpointError, match="max_feature_idx=4"):
        read_trees(text.encode(), N_FEATURES + 1, "model.txt")


def fuzz(text, folder, seed, *more):
    (folder / "model.txt").write_text(text)
    command = [sys.executable, "-m", "tests.models.tree_fuzz", folder / "model.txt"]
    return subprocess.run(
        [*command, folder / "last", str(seed), *more],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=200,
    )


def test_no_mutant_crashes_hangs_or_takes_all_memory(text, tmp_path):
    done = fuzz(text, tmp_path, 1)
    assert done.returncode == 0, (done.returncode, done.stderr[-2000:], tmp_path / "last")
    assert int(done.stdout) > 5  # mutants that are sound reach LightGBM


@pytest.mark.slow
def test_sabotage_the_fuzzer_notices_what_an_unchecked_text_does(text, tmp_path):
    done = fuzz(text, tmp_path, 1, "unchecked")
    assert done.returncode < 0, done.stderr[-500:]
