"""``python -m jamba_ray.submit +sweep=rivals``: the sweep as a job of a Ray cluster, for CI."""

from __future__ import annotations

import hashlib
import json
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from rich.console import Console

from jamba_ray.commands import gate, parcel, upload
from jamba_ray.commands.composition import compose_section, split_flags
from jamba_ray.commands.entry import guarded
from jamba_ray.commands.help import print_help
from jamba_ray.commands.prefixed import split_settings
from jamba_ray.config.fingerprint import fingerprint_json
from jamba_ray.config.run import SweepConfig
from jamba_ray.config.submit import SubmitSection
from jamba_ray.errors import ConfigError, ExitCode
from jamba_ray.launch.job_api import Jobs, JobState, require_access

ABOUT = """\
Run a sweep as a job of a Ray cluster and wait for it: its log is shown, its result copied back, its
exit code is this command's. Submitted again (a retried CI job) it follows the sweep there is.
SIGTERM and Ctrl-C stop the sweep with its state saved; the same command continues it."""
EXAMPLES = """\
  python -m jamba_ray.submit +sweep=attention_heads
  python -m jamba_ray.submit +sweep=rivals n_trials=64 store=s3://bucket/sweeps
  python -m jamba_ray.submit +sweep=rivals submit.champion=champion.json submit.margin=0.005
  python -m jamba_ray.submit +sweep=rivals submit.dry_run=true
"""
INSECURE = "--insecure-local"
_STOP_WAIT_S = 60
_MAX_ATTEMPTS = 20
_AGAIN = {ExitCode.INTERRUPTED, ExitCode.UNAVAILABLE, ExitCode.INTERNAL, ExitCode.STORAGE}
"""Ends after which the same command continues the sweep instead of repeating the answer."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command as ``python -m jamba_ray.submit`` does; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    return guarded(lambda out: _main(arguments, out))


def _main(arguments: list[str], out: Console) -> int:
    insecure = INSECURE in arguments
    flags, settings = split_flags([a for a in arguments if a != INSECURE])
    if flags.help:
        print_help(out, ABOUT, EXAMPLES, SubmitSection, prefix="submit.")
        out.print(f"  {INSECURE}    accept a cluster without a token at a loopback address")
        return ExitCode.OK
    own, overrides = split_settings(SubmitSection, "submit", settings)
    config = compose_section(SweepConfig, "config", overrides)
    _refuse_ours(config)
    champion = None if own.champion is None else gate.read_champion(own.champion)
    key = own.key or sweep_key(config, Path.cwd())
    package = upload.preview(Path.cwd())
    for line in package.lines():
        out.print(line, highlight=False, markup=False, soft_wrap=True)
    upload.refuse_too_large(package, own.max_upload_mb)
    run = config.run or key
    command = [own.python, "-m", "jamba_ray.commands.job", *overrides, f"run={run}", "resume=true"]
    if own.dry_run:
        out.print(
            f"job {key}: {shlex.join(command)}", highlight=False, markup=False, soft_wrap=True
        )
        out.print("Nothing was submitted. Drop `submit.dry_run=true` to submit it.")
        return ExitCode.OK
    require_access(own.address, insecure_local=insecure)
    client = _Client(Jobs(own.address), out, Path.cwd())
    job, ended = client.run(key, shlex.join(command))
    found = parcel.unpack(client.log(job))
    code = _exit_code(ended, found)
    if found is not None:
        paths = parcel.write(found, Path(own.results) / key)
        for path in paths:
            out.print(f"result: {path}", highlight=False, markup=False, soft_wrap=True)
        for name in found.left_out:
            out.print(f"note: {name} was too large to copy back.", highlight=False)
    if champion is not None and found is not None and code in (ExitCode.OK, ExitCode.SOME_FAILED):
        verdict = gate.judge(json.loads(found.files["summary.json"]), champion, own.margin)
        mark = "[green]gate:[/] " if verdict.passed else "[bold red]gate:[/] "
        out.print(mark, end="")
        out.print(verdict.sentence, highlight=False, markup=False, soft_wrap=True)
        return code if verdict.passed else ExitCode.WORSE
    return code


def sweep_key(config: SweepConfig, folder: Path) -> str:
    """Names a sweep by the commit and the configuration it runs: ``rivals-3f2a91c04b1d-9d0e61aa``.

    Uncommitted changes count too, so that another experiment never gets another one's answer.
    """
    source = _git(folder, "rev-parse", "HEAD")[:12] or "nocommit"
    changes = _git(folder, "diff", "HEAD") + _git(folder, "status", "--porcelain")
    tree = config.model_dump(mode="json", exclude={"verbose", "resume", "dry_run"})
    what = fingerprint_json(tree) + (
        hashlib.sha256(changes.encode()).hexdigest() if changes else ""
    )
    return f"{config.sweep_name[:32]}-{source}-{hashlib.sha256(what.encode()).hexdigest()[:8]}"


class _Client:
    """Submits, follows and, when a signal comes, stops softly."""

    def __init__(self, jobs: Jobs, out: Console, folder: Path) -> None:
        self._jobs, self._out, self._folder = jobs, out, folder
        self._job: str | None = None
        self._signals = 0

    def log(self, job: str) -> str:
        return self._jobs.log(job)

    def run(self, key: str, entrypoint: str) -> tuple[str, JobState]:
        """(the job's name, how it ended)."""
        job = self._job = self._find_or_submit(key, entrypoint)
        before = {s: signal.signal(s, self._stop) for s in (signal.SIGTERM, signal.SIGINT)}
        try:
            return job, self._jobs.follow(job, self._show)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _find_or_submit(self, key: str, entrypoint: str) -> str:
        """The job that runs or has finished this sweep, else a new one that continues it."""
        for attempt in range(1, _MAX_ATTEMPTS + 1):
            job = key if attempt == 1 else f"{key}.{attempt}"
            state = self._jobs.state(job)
            if state is None:
                env = {"RAY_JOB_STOP_WAIT_TIME_S": str(_STOP_WAIT_S)}
                if self._jobs.submit(job, entrypoint, self._folder, upload.EXCLUDES, env):
                    self._say(f"job {job} submitted")
                    return job
                self._say(f"job {job} was submitted by another client; following it")
                return job
            if not state.ended:
                self._say(f"job {job} runs already; following it")
                return job
            code = _exit_code(state, parcel.unpack(self._jobs.log(job)))
            if code not in _AGAIN:
                self._say(f"job {job} has ended already (exit code {code}); this is its log")
                return job
        raise ConfigError(
            [
                f"`submit.key` must name a sweep that can end, but {key!r} was stopped or lost "
                f"{_MAX_ATTEMPTS} times. See the logs, or give another `submit.key=`."
            ]
        )

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._signals += 1
        if self._signals > 1 or self._job is None:
            raise SystemExit(ExitCode.INTERRUPTED)
        # Not here: a handler must not wait for the network inside another request.
        threading.Thread(target=self._jobs.stop, args=(self._job,), daemon=True).start()
        self._say(
            f"{signal.Signals(number).name}: the sweep is stopped with its state saved "
            "(once more: leave now)"
        )

    def _show(self, line: str) -> None:
        if not line.startswith(parcel.MARK):
            print(line, flush=True)

    def _say(self, sentence: str) -> None:
        self._out.print(sentence, style="dim", highlight=False, markup=False, soft_wrap=True)


def _exit_code(state: JobState, found: parcel.Parcel | None) -> int:
    """The sweep's exit code. Ray's own is 1 for whatever failed and unknown of a stopped job."""
    if found is not None:
        return found.exit_code
    if state.exit_code is not None and state.exit_code > 0:
        return state.exit_code
    if state.status == "SUCCEEDED":
        return ExitCode.OK
    return ExitCode.INTERRUPTED if state.status == "STOPPED" else ExitCode.UNAVAILABLE


def _refuse_ours(config: SweepConfig) -> None:
    mistakes = []
    if config.dry_run:
        mistakes.append("`dry_run` is for this machine; for a job say `submit.dry_run=true`.")
    if config.overwrite:
        mistakes.append(
            "`overwrite` is refused: a retried job would delete what it should continue."
        )
    if mistakes:
        raise ConfigError(mistakes)


def _git(folder: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


if __name__ == "__main__":
    sys.exit(main())
