"""Prometheus scrapes a sweep: the figures, the alerts, and what the dashboard asks for."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from jamba_ray.driver.metrics import GAUGES, REPORTS, SweepMetrics
from jamba_ray.study.records import RunningTrial, SweepProgress, TrialRecord
from tests.cluster import files
from tests.cluster.heads import Head, head

PROMETHEUS = files.CLUSTER / "prometheus"
DASHBOARD = json.loads((files.CLUSTER / "grafana" / "sweep.json").read_text())
NAMES = {f"ray_{name}" for name in GAUGES} | {f"ray_{REPORTS}_total"}
promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="apt-get install prometheus")


def trial(number: int, state: str, value: float | None, reports: int) -> TrialRecord:
    curve = tuple((step + 1, 0.5) for step in range(reports))
    known = {f.name: None for f in dataclasses.fields(TrialRecord)}
    known |= {"number": number, "state": state, "value": value, "curve": curve}
    return TrialRecord(**known)


def progress(**changes: Any) -> SweepProgress:
    running = RunningTrial(2, {}, 3, 300, 0.5, 0.6, 9.0)
    known = {
        "n_trials": 8,
        "counts": {"complete": 1, "pruned": 1, "running": 1},
        "best": trial(0, "complete", 0.75, 4),
        "running": (running,),
        "finished": (trial(0, "complete", 0.75, 4), trial(1, "pruned", 0.5, 2)),
        "failures": {},
        "elapsed_s": 1800.0,
        "goodput_s": 1800.0,
        "runners": 2,
        "ended": None,
        "earlier_s": 5400.0,
    }
    return SweepProgress(**{**known, **changes})


def test_each_figure_of_a_sweep_has_a_metric() -> None:
    metrics = SweepMetrics("night-1", "log_loss", 3.0, lambda: 60.0)
    values = {
        (name, tags.get("state")): (value, tags) for name, value, tags in metrics.values(progress())
    }
    assert {name for name, _ in values} == set(GAUGES)
    plain = {name: value for (name, _), (value, _) in values.items()}
    assert plain["jamba_ray_goodput_ratio"] == 0.5
    assert plain["jamba_ray_spent_hours"] == 2.0
    assert plain["jamba_ray_spent_usd"] == 6.0
    assert plain["jamba_ray_seconds_left"] == 60.0
    states = {s: v for (n, s), (v, _) in values.items() if n == "jamba_ray_trials"}
    assert states == {"complete": 1, "pruned": 1, "failed": 0, "running": 1}
    assert values["jamba_ray_best_objective", None] == (
        0.75,
        {"metric": "log_loss", "direction": "minimize"},
    )


def test_what_is_not_known_has_no_metric() -> None:
    metrics = SweepMetrics("night-1", "log_loss", None, lambda: None)
    known = {name for name, _, _ in metrics.values(progress(best=None))}
    assert set(GAUGES) - known == {
        "jamba_ray_spent_usd",
        "jamba_ray_seconds_left",
        "jamba_ray_best_objective",
    }
    assert {n: v for n, v, _ in metrics.values(progress(trouble="the disk is full"))}[
        "jamba_ray_store_refuses"
    ] == 1.0


def test_each_report_is_counted_once() -> None:
    metrics = SweepMetrics("night-1", "log_loss", None, lambda: None)
    assert metrics.new_reports(progress()) == 4 + 2 + 3
    assert metrics.new_reports(progress(finished=())) == 0
    ended = progress(finished=(trial(2, "complete", 0.7, 5),), running=())
    assert metrics.new_reports(ended) == 2


def expressions() -> dict[str, str]:
    """Every PromQL that we ship, by where it is."""
    found = {
        f"panel {panel['title']} {target['refId']}": target["expr"].replace("$run", ".*")
        for panel in DASHBOARD["panels"]
        for target in panel["targets"]
    }
    rules = yaml.safe_load((PROMETHEUS / "rules.yaml").read_text())
    for group in rules["groups"]:
        found |= {f"alert {rule['alert']}": rule["expr"] for rule in group["rules"]}
    return found


def test_dashboard_and_alerts_ask_for_what_there_is() -> None:
    asked = {where: set(re.findall(r"ray_jamba_ray_\w+", e)) for where, e in expressions().items()}
    assert {name for names in asked.values() for name in names} == NAMES
    (run,) = (v for v in DASHBOARD["templating"]["list"] if v["name"] == "run")
    assert run["definition"] == "label_values(ray_jamba_ray_trials, run)"


def test_the_dashboard_is_one_that_grafana_reads() -> None:
    """By hand, after Grafana's dashboard JSON model: Grafana has no published strict schema."""
    assert DASHBOARD["schemaVersion"] >= 36
    assert re.fullmatch(r"[\w-]{1,40}", DASHBOARD["uid"])
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids) >= 8
    cells: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        own = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not own & cells, f"{panel['title']} lies on another panel"
        cells |= own
        assert panel["type"] in {"stat", "gauge", "timeseries"}
        assert panel["datasource"]["uid"] == "${datasource}"
        refs = [target["refId"] for target in panel["targets"]]
        assert sorted(set(refs)) == refs
        assert {"defaults", "overrides"} <= set(panel["fieldConfig"])


def check_rules(folder: Path, rules: list[dict[str, Any]]) -> subprocess.CompletedProcess[str]:
    path = folder / "rules.yaml"
    path.write_text(json.dumps({"groups": [{"name": "all", "rules": rules}]}))
    line = ["promtool", "check", "rules", str(path)]
    return subprocess.run(line, capture_output=True, text=True, timeout=60)


@promtool
def test_promtool_parses_every_expression(tmp_path: Path) -> None:
    rules = [{"record": f"r{i}", "expr": e} for i, e in enumerate(expressions().values())]
    done = check_rules(tmp_path, rules)
    assert done.returncode == 0, done.stderr
    assert f"{len(rules)} rules found" in done.stdout
    broken = check_rules(tmp_path, [*rules, {"record": "r", "expr": "max by run (up)"}])
    assert broken.returncode != 0
    for line in (
        ["promtool", "check", "rules", str(PROMETHEUS / "rules.yaml")],
        ["promtool", "check", "config", "--syntax-only", str(PROMETHEUS / "prometheus.yml")],
    ):
        assert subprocess.run(line, capture_output=True, timeout=60).returncode == 0, line


QUIET = {
    f"ray_{REPORTS}_total": "0+6x120",
    'ray_jamba_ray_trials{state="running"}': "2x120",
    'ray_jamba_ray_trials{state="failed"}': "1x120",
    'ray_jamba_ray_trials{state="complete"}': "9x120",
    "ray_jamba_ray_store_refuses": "0x120",
    "ray_jamba_ray_goodput_ratio": "0.8x120",
    "ray_jamba_ray_spent_hours": "2x120",
}


@promtool
@pytest.mark.parametrize(
    ("alert", "severity", "changed"),
    [
        ("SweepStalled", "warning", {f"ray_{REPORTS}_total": "6x120"}),
        ("SweepTrialsFail", "warning", {'ray_jamba_ray_trials{state="failed"}': "4x120"}),
        ("SweepStoreRefuses", "critical", {"ray_jamba_ray_store_refuses": "1x120"}),
        ("SweepMachinesIdle", "info", {"ray_jamba_ray_goodput_ratio": "0.1x120"}),
        (None, None, {}),
    ],
)
def test_an_alert_fires_when_it_should(
    tmp_path: Path, alert: str | None, severity: str | None, changed: dict[str, str]
) -> None:
    def labelled(series: str) -> str:
        name, found, rest = series.partition("{")
        return f'{name}{{run="night-1"{"," + rest if found else "}"}'

    known = yaml.safe_load((PROMETHEUS / "rules.yaml").read_text())["groups"][0]["rules"]
    cases = []
    for rule in known:
        summary = rule["annotations"]["summary"].replace("{{ $labels.run }}", "night-1")
        fires = {
            "exp_labels": {"run": "night-1", "severity": severity},
            "exp_annotations": {"summary": summary},
        }
        expected = [fires] if rule["alert"] == alert else []
        cases.append({"eval_time": "60m", "alertname": rule["alert"], "exp_alerts": expected})
    series = [{"series": labelled(s), "values": v} for s, v in {**QUIET, **changed}.items()]
    test = {"interval": "30s", "input_series": series, "alert_rule_test": cases}
    path = tmp_path / "test.yaml"
    rules = str(PROMETHEUS / "rules.yaml")
    path.write_text(json.dumps({"rule_files": [rules], "tests": [test]}))
    line = ["promtool", "test", "rules", str(path)]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


@contextmanager
def prometheus(folder: Path, nodes: Path) -> Iterator[str]:
    """A Prometheus with our configuration, on the nodes that Ray lists; its address."""
    folder.mkdir()
    text = (PROMETHEUS / "prometheus.yml").read_text()
    assert "/tmp/ray/prom_metrics_service_discovery.json" in text
    text = text.replace("/tmp/ray/prom_metrics_service_discovery.json", str(nodes))
    (folder / "prometheus.yml").write_text(text)
    shutil.copy(PROMETHEUS / "rules.yaml", folder)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [
                *("prometheus", f"--config.file={folder}/prometheus.yml"),
                *(f"--web.listen-address={address}", f"--storage.tsdb.path={folder}/data"),
            ],
            stdout=log,
            stderr=log,
        )
    try:
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait(30)


def ask(address: str, query: str) -> dict[str, float]:
    """What Prometheus answers, by the labels that tell series of one query apart."""
    url = f"{address}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
    with urllib.request.urlopen(url, timeout=10) as answer:
        found = json.load(answer)["data"]["result"]
    return {"/".join(one["metric"].values()): float(one["value"][1]) for one in found}


@pytest.mark.slow
@promtool
@pytest.mark.skipif(shutil.which("prometheus") is None, reason="apt-get install prometheus")
def test_prometheus_scrapes_a_running_sweep_and_has_what_the_summary_says(tmp_path: Path) -> None:
    with head(tmp_path) as cluster:
        nodes = cluster.temporary / "prom_metrics_service_discovery.json"
        deadline = time.monotonic() + 60
        while not nodes.exists():
            assert time.monotonic() < deadline, "Ray lists no nodes for Prometheus"
            time.sleep(0.5)
        with prometheus(tmp_path / "prometheus", nodes) as address:
            _sweep_is_scraped(tmp_path, cluster, address)


def _sweep_is_scraped(folder: Path, cluster: Head, address: str) -> None:
    line = [sys.executable, "-m", "jamba_ray.sweep", "+sweep=attention_heads", "n_trials=6"]
    line += ["data.n_samples=2000", "training.epochs=3", "model.hidden_dim=16", "rival=false"]
    line += ["budget.hours=1", "budget.usd_per_hour=36", "run=scraped", "certify=false"]
    environment = {**cluster.environment, "RAY_ADDRESS": cluster.gcs}
    with (folder / "sweep.log").open("w") as log:
        sweep = subprocess.Popen(line, cwd=folder, env=environment, stdout=log, stderr=log)
    states = 'max by (state) (max_over_time(ray_jamba_ray_trials{run="scraped"}[5m]))'
    seen_running: set[float] = set()
    while sweep.poll() is None:
        with contextlib.suppress(OSError):  # Prometheus is starting
            seen_running.add(ask(address, states).get("running", 0.0))
        time.sleep(1.0)
    assert sweep.returncode == 0, (folder / "sweep.log").read_text()
    summary = json.loads((folder / "runs" / "scraped" / "summary.json").read_text())
    done = {k: v for k, v in summary["trials"].items() if k in {"complete", "pruned", "failed"}}
    assert sum(done.values()) == 6

    def last(name: str, by: str = "run") -> dict[str, float]:
        query = f'max by ({by}) (last_over_time(ray_jamba_ray_{name}{{run="scraped"}}[5m]))'
        return ask(address, query)

    deadline = time.monotonic() + 40
    while sum(last("trials", "state").get(s, 0) for s in done) < 6:
        assert time.monotonic() < deadline, last("trials", "state")
        time.sleep(1.0)
    assert max(seen_running) > 0, "it was never scraped while it ran"
    assert last("trials", "state") == {**done, "running": 0.0}
    trials = pd.read_parquet(folder / "runs" / "scraped" / "trials.parquet")
    complete = trials[trials["state"] == "complete"]
    assert last("best_objective")["scraped"] == complete["value"].max()
    assert last("goodput_ratio")["scraped"] == pytest.approx(summary["goodput"], abs=0.02)
    assert last("spent_hours")["scraped"] == pytest.approx(
        summary["budget"]["spent_hours"], abs=0.001
    )
    assert last("spent_usd")["scraped"] == pytest.approx(summary["budget"]["spent_usd"], abs=0.036)
    assert last("reports_total")["scraped"] > 6
    assert last("trials_planned")["scraped"] == 6
