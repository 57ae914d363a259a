"""Runs a sweep as a job of a Ray cluster, also from CI: ``python -m jamba_ray.submit``."""

from __future__ import annotations

import sys

from jamba_ray.cli.commands import SUBMIT as COMMAND

# Above the other imports, which take seconds: help and mistakes need none of them.
if __name__ == "__main__":
    sys.exit(COMMAND.main())

import hashlib
import shlex
import subprocess
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from rich.console import Console

from jamba_ray.cli import gate
from jamba_ray.cli.entry import say
from jamba_ray.cli.phases import Phases
from jamba_ray.cluster import job_result, upload
from jamba_ray.cluster.job_client import Jobs, require_access
from jamba_ray.cluster.retry import Link
from jamba_ray.cluster.submission import Submission, advice
from jamba_ray.config.fingerprint import fingerprint_json
from jamba_ray.config.run import SweepConfig
from jamba_ray.config.submit import SubmitSection
from jamba_ray.errors import ConfigError, ExitCode


def run(
    own: SubmitSection, config: SweepConfig, words: Sequence[str], out: Console, *, insecure: bool
) -> int:
    """Submits the sweep ``config``, which ``words`` compose, and waits for it.

    Raises:
        JambaError: With the sentence and exit code for whatever the user can act on.
    """
    _refuse_ours(config)
    champion = None if own.champion is None else gate.read_champion(own.champion)
    package = upload.preview(Path.cwd(), own.allow, (config.store, own.results))
    for line in package.lines():
        out.print(line, highlight=False, markup=False, soft_wrap=True)
    upload.refuse_secrets(package, own.allow)
    upload.refuse_too_large(package, own.max_upload_mb)
    upload.refuse_without_plugins(package)
    key = own.key or sweep_key(config, package)
    name = config.run or key
    command = [own.python, "-m", "jamba_ray.cli.job", *words, f"run={name}", "resume=true"]
    if own.dry_run:
        out.print(
            f"job {key}: {shlex.join(command)}", highlight=False, markup=False, soft_wrap=True
        )
        out.print("Nothing was submitted. Drop `submit.dry_run=true` to submit it.")
        return ExitCode.OK
    require_access(own.address, insecure_local=insecure)
    link = Link(own.address, own.patience_s, partial(say, out), advice=advice(key))
    with Phases(out) as phases:
        phase = partial(phases.begin, is_brief=True)
        phase(f"asking the cluster at {own.address}")
        jobs = Jobs(own.address, link)
        code, found = Submission(jobs, key, out, package, phase).run(shlex.join(command))
    if found is not None:
        paths = job_result.write(found, Path(own.results) / key)
        for path in paths:
            out.print(f"result: {path}", highlight=False, markup=False, soft_wrap=True)
        for name in found.left_out:
            out.print(f"note: {name} was too large to copy back.", highlight=False)
        if not found.files:
            say(out, f"note: job {key} sent no files home: its run folder was not found there.")
    if champion is None or code not in (ExitCode.OK, ExitCode.SOME_FAILED):
        return code
    winner = gate.read_winner(found, key)
    verdict = gate.judge(winner, champion, own.margin)
    mark = "[green]gate:[/] " if verdict.passed else "[bold red]gate:[/] "
    out.print(mark, end="")
    out.print(verdict.sentence, highlight=False, markup=False, soft_wrap=True)
    return code if verdict.passed else ExitCode.WORSE


def sweep_key(config: SweepConfig, package: upload.Upload | Path) -> str:
    """Returns a name for a sweep from the commit, the configuration and all uploaded files.

    An example is ``rivals-3f2a91c04b1d-9d0e61aa``. With it no experiment gets another one's result.
    """
    if isinstance(package, Path):
        package = upload.preview(package)
    source = _git(package.folder, "rev-parse", "HEAD")[:12] or "nocommit"
    tree = config.model_dump(mode="json", exclude={"verbose", "resume", "dry_run"})
    what = fingerprint_json(tree) + package.digest()
    return f"{config.sweep_name[:32]}-{source}-{hashlib.sha256(what.encode()).hexdigest()[:8]}"


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
