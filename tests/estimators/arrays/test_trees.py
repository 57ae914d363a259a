"""Arrays of trees score as the library that grew them, and no others reach native code."""

import os
import subprocess
import sys

import numpy as np
import pytest

from jamba_ray.estimators.arrays.trees import MAX_DEPTH, Tree, Trees
from jamba_ray.estimators.estimator import Saved
from tests.estimators.arrays.tree_arrays_fuzz import N_FEATURES, grown


@pytest.fixture(scope="module")
def trees():
    rng = np.random.default_rng(0)
    return [grown(rng) for _ in range(5)]


def rows(n=500):
    return (np.random.default_rng(1).normal(size=(n, N_FEATURES)) * 2).astype(np.float32)


def walked(tree, row):
    node = 0
    while tree.feature[node] >= 0:
        goes_left = row[tree.feature[node]] <= np.float32(tree.threshold[node])
        node = int(tree.left[node] if goes_left else tree.right[node])
    return tree.value[node]


def test_a_score_is_the_sum_of_the_leaves(trees):
    found = Trees.of(trees, -1.5, N_FEATURES)
    expected = [-1.5 + sum(walked(tree, row) for tree in trees) for row in rows()]
    np.testing.assert_allclose(found.sums(rows()), expected, atol=1e-12)
    again = Trees.load(found.save(), N_FEATURES)
    np.testing.assert_array_equal(again.sums(rows()), found.sums(rows()))
    first = [-1.5 + sum(walked(tree, row) for tree in trees[:2]) for row in rows()]
    np.testing.assert_allclose(found.first(2).sums(rows()), first, atol=1e-12)


def test_a_row_at_a_threshold_goes_left(trees):
    found = Trees.of(trees, 0.0, N_FEATURES)
    tree = max(trees, key=lambda t: len(t.feature))
    at = rows()
    at[:, tree.feature[0]] = np.float32(tree.threshold[0])
    expected = [sum(walked(tree, row) for tree in trees) for row in at]
    np.testing.assert_allclose(found.sums(at), expected, atol=1e-12)


def test_trees_of_one_leaf_score(trees):
    leaf = Tree(*(np.array([v]) for v in (-1, 0.0, -1, -1, 0.25, 9.0)))
    assert Trees.of([leaf, leaf], 0.5, N_FEATURES).sums(rows(3)).tolist() == [1.0] * 3
    mixed = Trees.of([leaf, *trees], 0.5, N_FEATURES)
    values, base = mixed.contributions(rows())
    np.testing.assert_allclose(values.sum(axis=1) + base, mixed.sums(rows()), atol=1e-9)


def chain(depth):
    """A tree of one long branch."""
    inner = np.arange(depth)
    leaves = np.full(depth + 1, -1)
    return Tree(
        feature=np.concatenate([np.zeros(depth), leaves]).astype(np.int32),
        threshold=np.zeros(2 * depth + 1, np.float32),
        left=np.concatenate([np.append(inner[1:], depth), leaves]).astype(np.int32),
        right=np.concatenate([depth + 1 + inner, leaves]).astype(np.int32),
        value=np.zeros(2 * depth + 1),
        cover=np.ones(2 * depth + 1, np.float32),
    )


ATTACKS = {
    "feature out of range": ("feature", 0, N_FEATURES),
    "negative feature": ("feature", 0, -2),
    "child out of range": ("left", 0, 2**31 - 1),
    "negative child": ("left", 0, -5),
    "the root as child": ("right", 0, 0),
    "two parents": ("right", 0, 1),
    "a leaf with a child": ("left", -1, 1),
    "trees that overlap": ("starts", 1, 1),
    "trees past the end": ("starts", -1, 2**62),
    "trees before the start": ("starts", 0, -1),
    "no number": ("threshold", 0, np.nan),
    "infinite": ("value", -1, np.inf),
    "negative weight": ("cover", 0, -1.0),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_crafted_arrays_are_refused(trees, name):
    key, at, value = ATTACKS[name]
    saved = Trees.of(trees, 0.0, N_FEATURES).save()
    arrays = {k: a.copy() for k, a in saved.arrays.items()}
    arrays[key][at] = value
    with pytest.raises(ValueError, match=r"must|\."):
        Trees.load(Saved(arrays, saved.document), N_FEATURES)


def test_depth_base_and_number_of_trees_are_checked(trees):
    assert Trees.of([chain(MAX_DEPTH - 1)], 0.0, N_FEATURES).sums(rows(2)).shape == (2,)
    with pytest.raises(ValueError, match="deeper"):
        Trees.of([chain(MAX_DEPTH)], 0.0, N_FEATURES)
    saved = Trees.of(trees, 0.0, N_FEATURES).save()
    for base in (None, "0", True, float("nan"), [0.0]):
        with pytest.raises(ValueError, match="must be"):
            Trees.load(Saved(saved.arrays, {"base": base}), N_FEATURES)
    with pytest.raises(ValueError, match="`feature` must be"):
        Trees.load(saved, N_FEATURES - 3)
    none = {k: a[:1] if k == "starts" else a[:0] for k, a in saved.arrays.items()}
    with pytest.raises(ValueError, match="1 to 100000 trees"):
        Trees.load(Saved(none, saved.document), N_FEATURES)


def fuzz(seed, *more):
    return subprocess.run(
        [sys.executable, "-m", "tests.estimators.arrays.tree_arrays_fuzz", str(seed), *more],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=200,
    )


@pytest.mark.slow
def test_no_mutant_crashes_hangs_or_takes_all_memory():
    for seed in range(4):
        done = fuzz(seed)
        assert done.returncode == 0, (done.returncode, done.stderr[-2000:])
        assert int(done.stdout) > 20  # mutants that are sound reach LightGBM


@pytest.mark.slow
def test_sabotage_the_fuzzer_notices_what_unchecked_arrays_do():
    assert fuzz(1, "unchecked").returncode < 0
