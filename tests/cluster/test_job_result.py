from __future__ import annotations

import base64
import json
import os
import zlib

from jamba_ray.cluster import job_result


def _run(tmp_path, **contents: bytes):
    for name, content in {"summary.json": b"{}", **contents}.items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


def test_what_is_packed_is_unpacked_from_a_log_full_of_other_lines(tmp_path):
    folder = _run(tmp_path, **{"trials.parquet": os.urandom(50_000)})
    lines = job_result.pack(3, folder)
    assert len(lines) > 3
    log = "\n".join(["1/2 trial 0 complete", *lines[:2], "a warning between", *lines[2:], "end"])
    found = job_result.unpack(log)
    assert found is not None
    assert (found.exit_code, found.run) == (3, folder.name)
    assert found.files == {
        "summary.json": b"{}",
        "trials.parquet": (folder / "trials.parquet").read_bytes(),
    }
    home = tmp_path / "home"
    assert sorted(p.name for p in job_result.write(found, home)) == sorted(found.files)
    assert (home / "summary.json").read_bytes() == b"{}"


def test_the_last_whole_job_result_counts(tmp_path):
    first, second = job_result.pack(75, None), job_result.pack(0, _run(tmp_path))
    assert job_result.unpack("\n".join([*first, *second])).exit_code == 0
    assert job_result.unpack("\n".join(first)).exit_code == 75
    assert job_result.unpack("no job_result\n@jamba_ray:job_result 1/2 AAAA") is None


def test_large_files_stay_and_are_named(tmp_path):
    folder = _run(tmp_path, **{"log.txt": b"x" * (job_result.MAX_FILE_BYTES + 1)})
    found = job_result.unpack("\n".join(job_result.pack(0, folder)))
    assert found.left_out == ("log.txt",)
    assert set(found.files) == {"summary.json"}


def test_a_job_result_writes_no_other_names(tmp_path):
    content = {
        "exit_code": 0,
        "run": "r",
        "files": {"../../evil": "QQ==", "summary.json": "e30="},
        "left_out": [],
    }
    text = base64.b64encode(zlib.compress(json.dumps(content).encode())).decode()
    found = job_result.unpack(f"{job_result.MARK}1/1 {text}")
    assert set(found.files) == {"summary.json"}
