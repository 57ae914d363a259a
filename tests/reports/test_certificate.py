"""Tests the sentences about what is certified."""

from __future__ import annotations

from jamba_ray.reports.certificate import certified_in_words


def words(verdict, b=None, is_team=False, **more):
    a = {"trial": 3, "model": "attention", "seconds": 9.0}
    b = b or {"trial": 7, "model": "mlp", "seconds": 9.0}
    one = {"a": a, "b": b, "verdict": verdict, "value": 0.004, "low": 0.001, "high": 0.007}
    settings = {"margin": 0.005, "max_share": 0.1, "seeds": 4}
    told = {
        "settings": settings,
        "too_few": None,
        "comparisons": [{**one, "seeds": [4, 4], **more}],
    }
    (sentence,) = certified_in_words(told, "average_precision", is_team=is_team)
    return sentence


TREES = {"model": "lightgbm", "seconds": 1.0}


def test_better_and_worse():
    assert words("better") == (
        "Trial 3 beats trial 7 with 95 % confidence "
        "(validation avg precision +0.0040 [+0.0010, +0.0070] over 4 seeds)."
    )
    assert words("worse") == (
        "Trial 7 beats trial 3 with 95 % confidence "
        "(validation avg precision -0.0040 [-0.0070, -0.0010] over 4 seeds): trial 7 is the winner."
    )


def test_equal():
    assert words("equal").startswith(
        "Trial 3 and trial 7 are equal within noise, with 95 % confidence less than 0.005 apart ("
    )
    assert words("equal").endswith(": trial 3 was kept.")
    assert words("equal", taken=7).endswith(": trial 7, the cheaper one, was taken.")


def test_use_the_default_model():
    start = "Use LightGBM with its defaults (`model=lightgbm`): with 95 % confidence it "
    assert words("worse", TREES).startswith(f"{start}beats trial 3 (")
    assert words("not_better", TREES).startswith(f"{start}is not worse than trial 3 by 0.005 (")
    assert words("not_better", TREES).endswith("and it is cheaper.")
    # Not where a team is the winner, nor where it is as dear.
    assert "Use" not in words("not_better", TREES, is_team=True)
    assert "Use" not in words("equal", {**TREES, "seconds": 9.0})


def test_what_is_not_certified_says_why():
    said = words("open", why="budget", needs_s=60.0, needs_share=2.9)
    assert said.startswith("Not certified: further seeds of trial 3, to compare it with trial 7, ")
    assert said.endswith("`certify.max_share=2.9` does.")
    assert "too few to tell" in words("open", why="rows")
    assert words("open", why="seeds").endswith("`certify.seeds=8` tries on.")
    failed = words("open", why="failed", failed="trial-7", reason="its loss is not finite.")
    assert failed == (
        "Not certified: trial 7 could not be trained with another seed: its loss is not finite."
    )
