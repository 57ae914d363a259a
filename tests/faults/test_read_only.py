"""A disk that turns read-only while a study is written to it, as a failing disk does under ext4.

Everything happens in a mount namespace of its own: nothing is left mounted, however the test ends.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap

import pytest

WRITES = """
study = open_study(disk / "run", patience_s=0.5)
spec = study.ask("s/a").spec
step, acknowledged = 0, 0
try:
    while True:
        step += 1
        study.report([line(spec.number, step, 0.1)])
        acknowledged = step
        if step == 5:
            # Open files keep ``mount -o remount,ro`` from working; an aborted journal asks nobody.
            subprocess.run(["mount", "-o", "remount,abort", disk], check=True)
except StorageError as error:
    assert "must be writable" in str(error), error
    assert "What was acknowledged is intact" in str(error), error
assert acknowledged >= 5, acknowledged
print(acknowledged)
"""

REFUSED = """
for begin in (lambda: RunFolder(disk / "run").create(resume=True), lambda: open_study(disk /
"run")):
    try:
        begin()
    except StorageError as error:
        assert error.exit_code == 74
        assert "must be writable" in str(error), error
    else:
        raise AssertionError("nobody said that the disk is read-only")
"""

READS = """
study = open_study(disk / "run", session="t")
assert study.notes() == [], study.notes()
print(len(study.records()[0].curve))
study.close()
"""

IMPORTS = """
import subprocess, sys
from pathlib import Path
from jamba_ray.errors import StorageError
from jamba_ray.runs.run_folder import RunFolder
from tests.study.studies import line, open_study
disk = Path(sys.argv[1])
"""


@pytest.mark.skipif(
    os.geteuid() != 0 or not (shutil.which("unshare") and shutil.which("mkfs.ext4")),
    reason="a disk that turns read-only takes root, unshare and mkfs.ext4",
)
def test_a_disk_that_turns_read_only_is_said_and_loses_nothing(tmp_path):
    disk, image = tmp_path / "disk", tmp_path / "image"
    disk.mkdir()
    for name, code in (("writes", WRITES), ("refused", REFUSED), ("reads", READS)):
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(IMPORTS + code))
    script = f"""
    set -e
    truncate -s 8M {image}; mkfs.ext4 -q -F {image}
    mount -o loop {image} {disk}
    {sys.executable} {tmp_path}/writes.py {disk}
    umount {disk}
    e2fsck -fy {image} || [ $? = 1 ]
    mount -o loop,ro {image} {disk}
    {sys.executable} {tmp_path}/refused.py {disk}
    umount {disk}
    mount -o loop {image} {disk}
    {sys.executable} {tmp_path}/reads.py {disk}
    """
    done = subprocess.run(
        ["unshare", "--mount", "bash", "-c", script],
        capture_output=True,
        text=True,
        timeout=200,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )
    if "loop device" in done.stderr:
        pytest.skip(f"this machine has no loop device: {done.stderr.strip()}")
    assert done.returncode == 0, done.stdout + done.stderr
    acknowledged, *_, held = done.stdout.split()
    assert held == acknowledged
