"""The importance of columns as a table and as a figure."""

import re

from jamba_ray.reports.feature_table import feature_figure, feature_table
from tests.tracking.folders import FEATURES


def test_every_group_has_a_row_and_a_bar_with_its_interval():
    names = ["bytes + a<b>&c", "protocol", "n"]
    head, *rows = feature_table(FEATURES)
    assert head[1] == "avg precision lost without"
    assert [row[0] for row in rows] == names
    svg = feature_figure(FEATURES).svg()
    bars = re.findall(r'<rect class="bar (\w+) faint" x="([\d.]+)" .*?width="([\d.]+)"', svg)
    ranges = re.findall(r'<path class="range" d="M([\d.]+) .*?M([\d.]+) ', svg)
    assert [kind for kind, _, _ in bars] == ["s0", "grey", "grey"]  # grey: the interval holds 0
    for (_, x, width), (low, high) in zip(bars[:2], ranges, strict=False):
        assert float(low) < float(x) + float(width) < float(high)
    assert "a&lt;b&gt;&amp;c" in svg
    assert "0.3100, 95 % interval 0.2900 to 0.3400" in svg


def test_many_groups_are_counted_and_none_is_no_figure():
    assert feature_figure(None) is None
    many = {**FEATURES, "groups": FEATURES["groups"] * 10}
    assert feature_figure(many).svg().count('class="bar') == 20
    assert feature_figure(many).note.endswith("10 more lose less.")
    assert feature_table(many)[-1][0] == "10 more, each less"
