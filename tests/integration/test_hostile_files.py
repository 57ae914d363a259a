"""What people give to ``train`` by mistake: one sentence, the exit code of its kind, no run."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import pytest

from tests.data.test_cases import rows, text
from tests.integration.conftest import summary_of

FAST = ["model=lightgbm", "data=table", "model.n_estimators=5", "rival=false", "tracking=none"]
FLOWS = text(rows(120))
NAMES = FLOWS.partition("\n")[0]


def _spreadsheet(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr("xl/workbook.xml", "<workbook/>")


REFUSED = {
    "a wrong label": (FLOWS, ["data.target=lable"], "Did you mean `label`"),
    "another's label": (FLOWS, ["data.target=is_threat"], "Set data.target=<column>"),
    "no label in the test": (FLOWS, ["data.test=unlabelled.csv"], "must have the target column"),
    "one class": (text(rows(120, share=0.0)), [], r"all of its rows \(84\) are benign"),
    "three rows": (
        text([{**row, "label": i % 2} for i, row in enumerate(rows(3))]),
        [],
        "no row is left for it",
    ),
    "the label twice": (FLOWS.replace("dst_port", "label", 1), [], "must be 0 or 1"),
    "an empty file": ("", [], "but is empty"),
    "a header alone": (f"{NAMES}\n", [], "has only a header"),
    "a folder": (lambda path: path.mkdir(), [], "must hold CSV, JSON lines or Parquet files"),
    "a spreadsheet": (_spreadsheet, [], "is a spreadsheet; save it as CSV"),
    "a web page": ("<!DOCTYPE html>\n<title>Sign in</title>", [], "is a web page"),
    "dates of two orders": (
        NAMES + ",when\n" + "".join(
            f"{line},{'01/30/2026' if i % 2 else '30/01/2026'}\n"
            for i, line in enumerate(FLOWS.splitlines()[1:])
        ),
        ["data.timestamp=when", "data.split.kind=time"],
        "must have one order of day, month and year",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_in_one_sentence(here, workplace, name):
    content, settings, sentence = REFUSED[name]
    folder = workplace / "refused" / name.replace(" ", "-")
    folder.mkdir(parents=True)
    path = folder / "t.csv"
    content(path) if callable(content) else path.write_text(content)
    (workplace / "unlabelled.csv").write_text(FLOWS.replace(",label", ",other", 1))
    target = [] if any("target" in word for word in settings) else ["data.target=label"]
    done = here("train", *FAST, f"data.path={path}", *target, *settings, "run=refused", expect=65)
    assert re.search(sentence, done.stderr), done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (workplace / "runs" / "refused").exists()


def test_odd_but_sound_ones_are_read(here, workplace):
    """Twelve rows, a comma in the path, an emoji and a repeated name in the header, big numbers."""
    made = rows(12)
    for i, row in enumerate(made):
        row |= {"dst_port": 10**25 + i, "label": i % 2}
    folder = workplace / "x, y"
    folder.mkdir()
    content = text(made, ["big", "proto", "\N{BUG} dur", "pkts", "pkts", "label"])
    (folder / "flows.csv").write_text(content)
    data = [f"data.path={folder / 'flows.csv'}", "data.target=label"]
    done = here("train", *FAST, *data, "run=odd", "store=x, y/runs")
    assert "'pkts' 2 times" in done.stdout
    assert "only 1 threat" in done.stdout
    assert summary_of(folder / "runs" / "odd")["status"] == "ok"
    here("predict", "x, y/runs/odd", "x, y/flows.csv", "-o", "x, y/scored.csv")
    assert (folder / "scored.csv").read_text().splitlines()[0].endswith(",score,alert,threshold")
