"""Source files: the same content is the same data, and any change is noticed."""

from __future__ import annotations

import os

from jamba_ray.config.data import SyntheticSection, TableSection
from jamba_ray.data import changed_files, source_files, source_fingerprint
from tests.data.bad_tables import good_frame


def test_content_counts_and_names_and_times_do_not(tmp_path):
    for name in ("a.csv", "b.csv"):
        good_frame().to_csv(tmp_path / name)
    a, b = (TableSection(path=str(tmp_path / name)) for name in ("a.csv", "b.csv"))
    assert source_fingerprint(a) == source_fingerprint(b)
    with (tmp_path / "b.csv").open("a") as stream:
        stream.write("\n")
    assert source_fingerprint(a) != source_fingerprint(b)
    assert source_fingerprint(SyntheticSection()) != source_fingerprint(
        SyntheticSection(random_state=1)
    )


def test_changes_are_noticed(tmp_path):
    for name in ("a.csv", "b.csv", "c.csv"):
        good_frame().to_csv(tmp_path / name)
    files = source_files(TableSection(path=str(tmp_path)))
    assert changed_files(files) == []
    os.utime(tmp_path / "a.csv")  # touched, not changed
    assert changed_files(files) == []
    text = (tmp_path / "b.csv").read_text()
    (tmp_path / "b.csv").write_text(text.replace("tcp", "udp"))  # the same size
    (tmp_path / "c.csv").unlink()
    sentences = changed_files(files)
    assert len(sentences) == 2
    assert "b.csv changed" in sentences[0]
    assert "c.csv can no longer be read" in sentences[1]
