"""A wheel is enough: it carries `conf/` and `sweeps/`, so no checkout is needed."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_wheel_works_without_the_checkout(tmp_path):
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "-w", str(tmp_path), str(ROOT)], check=True, timeout=120)
    (wheel,) = tmp_path.glob("jamba_ray-*.whl")
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    assert (site / "jamba_ray" / "py.typed").exists()
    assert not (site / "tests").exists()
    scripts = next(site.glob("*.dist-info/entry_points.txt")).read_text()
    assert "jamba-ray = jamba_ray.__main__:main" in scripts
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "jamba_ray",
            "sweep",
            "+sweep=rivals",
            "data=nsl_kdd",
            "--cfg",
            "job",
        ],
        cwd=elsewhere,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "sweep_name: rivals" in done.stdout
    where = subprocess.run(
        [sys.executable, "-c", "import jamba_ray; print(jamba_ray.__file__)"],
        cwd=elsewhere,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert where.stdout.startswith(str(site)), "the wheel's copy is what ran"
