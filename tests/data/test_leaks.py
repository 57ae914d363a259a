"""Leaks: a feature that decides the label alone is told, an honest strong one is not."""

from __future__ import annotations

import numpy as np

from jamba_ray.config.data import TableSection
from jamba_ray.data import prepare
from tests.data.bad_tables import good_frame


def test_copies_of_the_label_are_told(tmp_path):
    frame = good_frame(400)
    y = frame["is_threat"].to_numpy()
    frame["score"] = y * 10 + np.random.default_rng(1).random(400)
    frame["verdict"] = np.where(y, np.where(frame["port"] % 2, "worm", "scan"), "fine")
    frame["nearly"] = np.where(np.arange(400) < 20, 1 - y, y)
    frame.to_csv(tmp_path / "t.csv", index=False)
    notes = [n for n in prepare(TableSection(path=str(tmp_path / "t.csv"))).notes if "alone" in n]
    assert [note.split("'")[1] for note in notes] == ["score", "verdict"]
