"""Writes what a watch found as Prometheus metrics, for the textfile collector of node_exporter.

The names are a contract: ``cluster/prometheus/watch.rules.yml`` and the Grafana dashboard use them,
and ``tests/watching/test_prometheus.py`` holds them together.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

METRICS = {
    "jamba_ray_watch_rows": "rows of the last window",
    "jamba_ray_watch_alerts": "alerts in the last window",
    "jamba_ray_watch_alerts_per_day": "alerts a day, by the times of the last window",
    "jamba_ray_watch_findings": "findings of the last window by severity",
    "jamba_ray_watch_finding": "1 for each finding of the last window",
    "jamba_ray_watch_column_distance": "share of the rows that a column's change moves",
    "jamba_ray_watch_column_missing": "share of a column that is missing",
    "jamba_ray_watch_column_changed": "1 where the change of a column is no chance",
    "jamba_ray_watch_score_distance": "share of the rows that the change of the score moves",
    "jamba_ray_watch_rows_roc_auc": "how well a classifier tells the window from the reference",
    "jamba_ray_watch_threat_share": "estimated share of threats, with its bounds",
    "jamba_ray_watch_estimated": "a metric as estimated without labels, with its bounds",
    "jamba_ray_watch_measured": "a metric of labelled rows, with its bounds",
    "jamba_ray_watch_promise_log_evidence": "evidence against the threshold's promise, a logarithm",
    "jamba_ray_watch_time_seconds": "when the last window was watched",
}
"""Name -> help."""


def exposition(report: Mapping[str, Any]) -> str:
    """Returns the metrics of ``watch.json`` in Prometheus' text format."""
    model = {"model": str(report["model"])}
    lines: dict[str, list[str]] = {}

    def put(name: str, value: Any, **labels: Any) -> None:
        if value is not None:
            found = {**model, **labels}
            inside = ",".join(f'{key}="{_escaped(str(text))}"' for key, text in found.items())
            lines.setdefault(name, []).append(f"{name}{{{inside}}} {float(value)!r}")

    def bounds(name: str, one: Mapping[str, Any] | None, **labels: Any) -> None:
        for bound in ("value", "low", "high"):
            put(name, None if one is None else one.get(bound), bound=bound, **labels)

    window = report["window"]
    put("jamba_ray_watch_rows", window["rows"])
    put("jamba_ray_watch_alerts", window["alerts"])
    put("jamba_ray_watch_alerts_per_day", window["alerts_per_day"])
    for severity in ("info", "warning", "critical"):
        n = sum(one["severity"] == severity for one in report["findings"])
        put("jamba_ray_watch_findings", n, severity=severity)
    for one in report["findings"]:
        put("jamba_ray_watch_finding", 1, key=one["key"], severity=one["severity"])
    for column in report["columns"]:
        name = column["column"]
        put("jamba_ray_watch_column_distance", column["distance"], column=name)
        put("jamba_ray_watch_column_changed", float(column["found"]), column=name)
        if column["missing"] is not None:
            put("jamba_ray_watch_column_missing", column["missing"]["value"], column=name)
    if report["score"] is not None:
        put("jamba_ray_watch_score_distance", report["score"]["distance"])
    if report["rows"] is not None:
        bounds("jamba_ray_watch_rows_roc_auc", report["rows"]["roc_auc"])
    bounds("jamba_ray_watch_threat_share", report["prior"])
    for name, one in ((report["performance"] or {}).get("metrics") or {}).items():
        bounds("jamba_ray_watch_estimated", one, metric=name)
    labels = report["labels"] or {}
    for name, one in (labels.get("metrics") or {}).items():
        bounds("jamba_ray_watch_measured", one, metric=name)
    if labels.get("promise"):
        put("jamba_ray_watch_promise_log_evidence", labels["promise"]["log_evidence"])
    put("jamba_ray_watch_time_seconds", report["time_s"])
    text = []
    for name, meaning in METRICS.items():
        if name in lines:
            text += [f"# HELP {name} {meaning}", f"# TYPE {name} gauge", *lines[name]]
    return "\n".join(text) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
