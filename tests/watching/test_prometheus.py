"""Tests that the metrics, the rules and the dashboard are of one kind, and that Prometheus reads
them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess

import pytest

from jamba_ray.config.yaml_text import read_yaml
from jamba_ray.watching.prometheus_text import METRICS, exposition
from tests.docs.pages import ROOT

RULES = ROOT / "cluster" / "prometheus" / "watch.rules.yaml"
DASHBOARD = ROOT / "cluster" / "grafana" / "watch.json"
NAME = re.compile(r"jamba_ray_watch_\w+")


def queries():
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return [target["expr"] for panel in panels for target in panel["targets"]]


def expressions():
    return [rule["expr"] for group in read_yaml(RULES)["groups"] for rule in group["rules"]]


def test_rules_and_dashboard_name_metrics_that_there_are():
    named = {name for text in (*queries(), *expressions()) for name in NAME.findall(text)}
    assert named <= set(METRICS)
    assert len(named) >= 12


def test_the_page_of_metrics_has_each_of_them_escaped(watch, frame):
    _, report = watch("metrics", frame[6_000:7_500], "labels=is_threat")
    report["columns"][0]["column"] = 'a"b\\c\n'
    text = exposition(report)
    assert set(NAME.findall(re.sub(r"#.*", "", text))) <= set(METRICS)
    assert len(set(NAME.findall(text))) >= 12
    assert 'column="a\\"b\\\\c\\n"' in text
    assert text.endswith("\n")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs the package prometheus")
def test_promtool_accepts_metrics_rules_and_queries(watch, frame, tmp_path):
    _, report = watch("metrics", frame[6_000:7_500], "labels=is_threat")
    check = ["promtool", "check"]
    done = subprocess.run([*check, "metrics"], input=exposition(report).encode(), check=False)
    assert done.returncode == 0
    assert subprocess.run([*check, "rules", str(RULES)], check=False).returncode == 0
    recorded = [
        {"record": f"query_{i}", "expr": text.replace("$model", "threats")}
        for i, text in enumerate(queries())
    ]
    file = tmp_path / "queries.json"
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": recorded}]}))
    assert subprocess.run([*check, "rules", str(file)], check=False).returncode == 0
    file.write_text(file.read_text().replace("topk(10, ", "topk(10 "))  # the sabotage twin
    assert subprocess.run([*check, "rules", str(file)], check=False).returncode != 0
