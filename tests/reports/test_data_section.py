"""The data of a run as small tables."""

from jamba_ray.reports import markdown, page
from jamba_ray.reports.data_section import data_tables
from jamba_ray.reports.run import Run
from tests.tracking.folders import OVERVIEW, make_run


def test_a_run_of_an_earlier_version_has_none():
    assert data_tables({}) == []


def test_parts_columns_and_gaps():
    parts, columns, left_out, gaps = data_tables(OVERVIEW)
    assert parts[0] == ["part", "rows", "threats", "from", "to", "also in training"]
    assert parts[1] == [
        *("training", "6,000", "1,200 (20.0 %)", "2026-01-01", "2026-01-28 12:00:00", "–"),
    ]
    assert parts[3][-1] == "30 (4.0 %)"
    assert ["2 columns of numbers", "bytes, a<b>&c"] in columns
    assert ["host", "named in data.drop"] in left_out
    assert gaps[1] == ["bytes", "25.0 %", "< 0.01 %", "0 %"]


def test_thousands_of_columns_are_counted_not_listed():
    names = [f"c{i}" for i in range(3000)]
    wide = {
        **OVERVIEW,
        "columns": {"numeric": names, "categorical": []},
        "left_out": dict.fromkeys(names, "constant"),
        "missing": {name: {"train": 0.5} for name in names},
    }
    _, columns, left_out, gaps = data_tables(wide)
    assert columns[1][0] == "3,000 columns of numbers"
    assert columns[1][1].endswith("c29 and 2,970 more")
    assert left_out[-1] == ["and 2,988 more", "columns"]
    assert gaps[-1] == ["and 2,988 more", "columns", "", ""]
    assert {len(row) for row in gaps} == {4}


def test_the_report_and_its_markdown_have_it(tmp_path):
    run = Run(make_run(tmp_path / "night-1", n_trials=3)[0].path)
    html, text = page.render(run), markdown.render(run)
    assert "<h2>The data</h2>" in html
    assert "a&lt;b&gt;&amp;c" in html
    assert "| training | 6,000 | 1,200 (20.0 %) |" in text


def test_rows_that_differ_are_shown_with_the_columns_that_give_them_away():
    auc = {"value": 0.86, "low": 0.85, "high": 0.871}
    alike = {"value": 0.5, "low": 0.49, "high": 0.51}
    compared = [
        {"part": "test", "roc_auc": auc, "columns": ["bytes", "<port>"]},
        {"part": "newest", "roc_auc": alike, "columns": ["bytes"]},
    ]
    *_, differ = data_tables({**OVERVIEW, "shift": {"comparisons": compared}})
    assert differ[1] == ["test", "0.860 (0.850 to 0.871)", "bytes, <port>"]
    assert differ[2] == ["newest fifth", "0.500 (0.490 to 0.510)", "chance"]
