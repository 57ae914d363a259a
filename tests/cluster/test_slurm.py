"""``cluster/slurm.sh`` with stand-ins for Slurm's own commands; on two machines with a real Ray.

pytest -m cluster tests/cluster/test_slurm.py
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from jamba_ray.study.reading import read_study
from tests.cluster import files
from tests.cluster.machines import Network, why_impossible
from tests.cluster.operating import BIN, ray_processes, wait_for

SCRIPT = files.CLUSTER / "slurm.sh"


def token_in(home: Path) -> None:
    (home / ".ray").mkdir(parents=True, mode=0o700)
    token = home / ".ray" / "auth_token"
    token.touch(mode=0o600)
    token.write_text(secrets.token_hex(32))


def put(folder: Path, name: str, text: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/bash\n{text}")
    (folder / name).chmod(0o755)


@pytest.fixture
def desk(tmp_path: Path) -> dict[str, str]:
    """A shell in which srun, scontrol, ray and python write down how they are called."""
    token_in(tmp_path)
    tools = tmp_path / "bin"
    put(tools, "srun", 'while [[ $1 == --* ]]; do shift; done\nexec "$@"\n')
    put(tools, "scontrol", 'echo "$@" >> "$HOME/scontrol.log"\n')
    # As `ray symmetric-run` on the head: what stands behind `--`, and its exit code.
    put(
        tools,
        "ray",
        'printf "%s\\n" "$@" > "$HOME/ray.log"; env > "$HOME/ray.env"\n'
        'while [[ $1 != -- ]]; do shift; done; shift; "$@"; exit $?\n',
    )
    put(
        tools,
        "python",
        'printf "%s\\n" "$RAY_ADDRESS" "$@" > "$HOME/python.log"\n'
        'trap "exit ${ON_TERM:-75}" TERM; touch "$HOME/begun"\n'
        "for i in $(seq ${TENTHS:-1}); do sleep 0.1; done; exit ${CODE:-0}\n",
    )
    keep = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "SLURM_"))}
    return {
        **keep,
        "HOME": str(tmp_path),
        "PATH": f"{tools}:{os.environ['PATH']}",
        "JAMBA_RAY_HEAD_IP": "192.0.2.7",
        "SLURM_JOB_ID": "4711",
        "SLURM_JOB_NUM_NODES": "3",
        "SLURM_CPUS_PER_TASK": "8",
    }


WORDS = ["+sweep=learning_rate", "store=/shared/sweeps", "run=night-1"]


def batch(desk: dict[str, str], *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", str(SCRIPT), *words],
        env={**desk, **more},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_ray_is_started_closed_and_the_sweep_is_given_its_words(desk: dict[str, str]) -> None:
    done = batch(desk, *WORDS, "model.name=the one")
    assert done.returncode == 0, done.stderr
    home = Path(desk["HOME"])
    ray = (home / "ray.log").read_text().splitlines()
    assert ray[: ray.index("--")] == [
        *("symmetric-run", "--address", "192.0.2.7:6379", "--min-nodes", "3"),
        *("--num-cpus=8", "--dashboard-host=127.0.0.1"),
    ]
    environment = dict(
        line.split("=", 1) for line in (home / "ray.env").read_text().splitlines() if "=" in line
    )
    assert environment["RAY_AUTH_MODE"] == "token"
    assert environment["RAY_USAGE_STATS_ENABLED"] == "0"
    assert environment["RAY_TMPDIR"] == "/tmp/jr-4711"
    assert "RAY_ADDRESS" not in environment, "symmetric-run would join a cluster"
    address, *words = (home / "python.log").read_text().splitlines()
    assert address == "192.0.2.7:6379"
    assert words == ["-m", "jamba_ray.sweep", *WORDS, "model.name=the one", "resume=true"]


@pytest.mark.parametrize("code", [0, 3, 64, 75])
def test_the_sweeps_exit_code_is_the_jobs(desk: dict[str, str], code: int) -> None:
    assert batch(desk, *WORDS, CODE=str(code)).returncode == code
    asked = Path(desk["HOME"]) / "scontrol.log"
    assert asked.exists() == (code == 75)


@pytest.mark.parametrize("on_term", [75, 0])
def test_a_signal_reaches_the_sweep_which_ends_itself(desk: dict[str, str], on_term: int) -> None:
    """75: it saved its state, and the job queues again; 0: it was done just then."""
    more = {"TENTHS": "300", "ON_TERM": str(on_term)}
    process = subprocess.Popen(["bash", str(SCRIPT), *WORDS], env={**desk, **more})
    wait_for("the sweep", (Path(desk["HOME"]) / "begun").exists, 30)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == on_term
    asked = Path(desk["HOME"]) / "scontrol.log"
    assert asked.exists() == (on_term == 75)
    if on_term == 75:
        assert asked.read_text() == "requeue 4711\n"


def test_a_job_does_not_queue_again_for_ever(desk: dict[str, str]) -> None:
    assert batch(desk, *WORDS, CODE="75", SLURM_RESTART_COUNT="20").returncode == 75
    assert not (Path(desk["HOME"]) / "scontrol.log").exists()


def test_a_node_that_gives_up_before_the_sweep_begins_tries_again(desk: dict[str, str]) -> None:
    """`ray symmetric-run` ends with 0 on a node whose Ray did not find the head's."""
    ray = Path(desk["PATH"].split(":")[0]) / "ray"
    late = '[[ -e $HOME/tried ]] || { touch "$HOME/tried"; exit 0; }'
    ray.write_text(ray.read_text().replace("\n", f"\n{late}\n", 1))
    done = batch(desk, *WORDS)
    assert done.returncode == 0, done.stderr
    assert "Ray did not start, attempt 1 of 5" in done.stdout
    assert (Path(desk["HOME"]) / "python.log").exists()
    ray.write_text("#!/bin/bash\nexit 0\n")
    assert batch(desk, *WORDS).returncode == 69


@pytest.mark.parametrize(
    ("words", "changes", "code", "said"),
    [
        (WORDS[:2], {}, 64, "run= and store= must be given"),
        (WORDS, {"SLURM_JOB_ID": ""}, 1, "start it with sbatch"),
        (WORDS, {"HOME": "/nonexistent"}, 69, "doctor.make_token=true"),
    ],
)
def test_what_is_missing_is_said_before_ray_starts(
    desk: dict[str, str], words: list[str], changes: dict[str, str], code: int, said: str
) -> None:
    done = batch(desk, *words, **changes)
    assert (done.returncode, said in done.stderr) == (code, True), done.stderr
    assert not (Path(desk["HOME"]) / "ray.log").exists()


@pytest.fixture
def shared() -> Iterator[Path]:
    """A home folder that all machines share, as Slurm's nodes do."""
    folder = Path(tempfile.mkdtemp(prefix="jrslurm-", dir="/var/tmp"))
    token_in(folder)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.cluster
@pytest.mark.timeout(900)
@pytest.mark.skipif(why_impossible() is not None, reason=why_impossible() or "possible")
def test_a_job_that_runs_out_of_time_continues_in_the_next(tmp_path: Path, shared: Path) -> None:
    """Two machines, a real Ray on both, a real `ray symmetric-run`; srun is ssh."""
    with Network(tmp_path) as network:
        first, second = (network.boot(name) for name in ("node1", "node2"))
        shutil.copy(network.key, shared / "key")
        (shared / "key").chmod(0o600)
        _install_slurm(shared, [first.ip, second.ip])
        job = _sbatch(network, first, shared)
        study = shared / "sweeps" / "night-1" / "study.journal"
        wait_for("a finished trial", lambda: _finished(study) >= 1, 300)
        assert any("raylet" in line for line in second.processes()), "the second node has no Ray"
        network.ssh(first, f"kill -TERM $(cat {shared}/batch.pid)")
        assert job.wait(200) == 75, (shared / "job.log").read_text()
        assert (shared / "scontrol.log").read_text() == "requeue 4711\n"
        before = _finished(study)
        for machine in (first, second):
            wait_for("Ray to be gone", lambda m=machine: not ray_processes(m), 60)
            assert "jr-4711" not in network.ssh(machine, "ls /tmp").stdout
        again = _sbatch(network, first, shared, "SLURM_RESTART_COUNT=1")
        assert again.wait(600) == 0, (shared / "job.log").read_text()
    summary = json.loads((study.parent / "summary.json").read_text())
    assert (summary["status"], summary["trials"]["complete"]) == ("ok", 8)
    assert 1 <= before < 8, "it was to be stopped half-way"


def _finished(study: Path) -> int:
    try:
        return sum(t.state == "complete" for t in read_study(study).trials)
    except Exception:
        return 0


def _install_slurm(shared: Path, hosts: list[str]) -> None:
    tools = shared / "bin"
    ssh = (
        f"ssh -i {shared}/key -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null "
        "-o LogLevel=ERROR root@"
    )
    put(
        tools,
        "srun",
        'while [[ $1 == --* ]]; do shift; done\nexport -p > "$HOME/env.$$"\nids=() worst=0\n'
        f"for host in {' '.join(hosts)}; do\n"
        f'  {ssh}$host ". $HOME/env.$$; cd $PWD; $(printf "%q " "$@")" & ids+=($!)\ndone\n'
        'for id in "${ids[@]}"; do\n  wait $id; code=$?; ((code > worst)) && worst=$code\ndone\n'
        "exit $worst\n",
    )
    put(tools, "scontrol", 'echo "$@" >> "$HOME/scontrol.log"\n')


def _sbatch(network: Network, machine, shared: Path, more: str = "") -> subprocess.Popen[str]:
    sweep = (
        f"+sweep=attention_heads n_trials=8 data.n_samples=4000 training.epochs=20 "
        f"model.hidden_dim=16 rival=false pruner.name=none certify=false store={shared}/sweeps "
        "run=night-1"
    )
    line = (
        f"export HOME={shared} PATH={shared}/bin:{BIN}:$PATH SLURM_JOB_ID=4711 OMP_NUM_THREADS=1 "
        f"SLURM_JOB_NUM_NODES=2 SLURM_CPUS_PER_TASK=1 {more}; cd {files.ROOT}; "
        f"echo $$ > {shared}/batch.pid; exec bash {SCRIPT} {sweep}"
    )
    with (shared / "job.log").open("a") as log:
        return subprocess.Popen([*network.ssh_command(machine), line], stdout=log, stderr=log)
