"""An analyst with a CSV and a wheel gets to scored alerts, led by what each command prints."""

from __future__ import annotations

import os
import re
import subprocess

import numpy as np
import pandas as pd
import pytest

FIRST = (
    "jamba-ray sweep +sweep=rivals data=table data.path=flows.csv data.target=verdict "
    "data.timestamp=time n_trials=2 training.epochs=1 dry_run=true"
)


def _flows(rows: int, seed: int, start: str) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "time": pd.date_range(start, periods=rows, freq="20s").astype(str),
            "proto": rng.choice(["tcp", "udp", "icmp"], rows),
            "bytes_out": rng.lognormal(8, 1, rows).round(1),
            "failed_logins": rng.poisson(1, rows),
        }
    )
    odds = 2 * (np.log(frame["bytes_out"]) - 8) + 1.5 * (frame["failed_logins"] - 1) - 3
    is_threat = rng.random(rows) < 1 / (1 + np.exp(-odds))
    return frame.assign(verdict=np.where(is_threat, "malicious", "benign"))


@pytest.mark.slow
def test_six_commands_lead_from_a_csv_to_the_report_each_printed_by_the_one_before(
    tmp_path, wheel_bin
):
    desk = tmp_path / "desk"
    desk.mkdir()
    _flows(3000, 1, "2026-01-01").to_csv(desk / "flows.csv", index=False)
    new = _flows(500, 2, "2026-03-01").drop(columns="verdict")
    new.to_csv(desk / "new.csv", index=False)
    env = {k: v for k, v in os.environ.items() if k not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    env |= {"PATH": f"{wheel_bin}{os.pathsep}{env['PATH']}", "COLUMNS": "80"}

    where = "import jamba_ray; print(jamba_ray.__file__)"
    python = str(wheel_bin / "python")
    found = subprocess.run(
        [python, "-c", where], cwd=desk, env=env, capture_output=True, text=True, check=True
    )
    assert found.stdout.startswith(str(wheel_bin.parent)), "the wheel's copy is what runs"

    command, outputs = FIRST, []
    while command is not None:
        assert len(outputs) < 6, f"a seventh command follows: {command}"
        done = subprocess.run(
            ["sh", "-c", command], cwd=desk, env=env, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        outputs.append((command, done.stdout))
        printed = re.findall(r"^\s*next\b[^:]*: (jamba-ray .*?)\s*$", done.stdout, re.MULTILINE)
        command = printed[0] if printed else None
    names = [command.split()[1] for command, _ in outputs]
    assert names == ["sweep", "sweep", "threshold", "predict", "explain", "report"]
    assert "max_fpr=0.01" in outputs[2][0]

    scored = pd.read_csv(desk / "scored.csv")
    pd.testing.assert_frame_equal(scored[list(new.columns)], new)
    assert (scored["alert"] == (scored["score"] >= scored["threshold"])).all()
    assert 0 < scored["alert"].sum() < 250
    assert "an alert" in outputs[4][1], "the row with the highest score is explained"
    assert any(driver in outputs[4][1] for driver in ("bytes_out", "failed_logins"))
    (page,) = desk.glob("runs/*/report.html")
    assert str(page.relative_to(desk)) in outputs[5][1]
