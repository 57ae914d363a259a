"""``warm_start`` and ``terminate`` as a user sees them: through the command, and after it."""

from __future__ import annotations

import pytest

from tests.integration.conftest import SMALL, summary_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def test_a_sweep_is_shown_an_earlier_one_and_ends_where_nothing_is_to_be_gained(command, workplace):
    words = ["model=logistic", *SMALL[:2], "rival=false", "ensemble=false", "certify=false"]
    # Settings that change nothing, so that all trials are alike.
    flat = "search_space.model.inverse_penalty={type: float, low: 1.0, high: 1.0001}"
    command("sweep", *words, flat, "n_trials=40", "terminate=0.01", "run=ended")
    found = summary_of(workplace / "runs" / "ended")
    assert 20 <= found["trials"]["complete"] < 40
    assert "less than `terminate` (0.01)" in found["ended"]

    wide = "search_space.model.inverse_penalty={type: float, low: 0.1, high: 10.0, log: true}"
    command("sweep", *words, wide, "n_trials=4", "run=cold")
    said = command("sweep", *words, wide, "n_trials=4", "warm_start=cold", "run=warm").stdout
    found = summary_of(workplace / "runs" / "warm")
    assert found["search"]["warm_start"] == ["cold"]
    assert sum(found["trials"].values()) == 4, "earlier trials count as none of this sweep's"
    (note,) = [note for note in found["notes"] if "cold" in note]
    assert note.split(":")[0] in " ".join(said.split())
