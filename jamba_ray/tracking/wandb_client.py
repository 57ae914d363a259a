"""Sends runs to Weights & Biases; no other file of this package logs to it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jamba_ray.errors import one_line
from jamba_ray.tracking.follower import OutageError
from jamba_ray.tracking.tracked_run import Row, TrackedRun

PATIENCE_S = 15.0
"""Seconds until W&B must answer, else it counts as unavailable (its own defaults: 90 s to begin,
and no limit to end)."""


class Wandb:
    """Sends runs to a server, or writes them as ``offline-run-*`` folders for ``wandb sync``.

    All files of W&B are in ``<run folder>/wandb``. W&B's own client finds the key, in
    ``WANDB_API_KEY`` or ``~/.netrc``; nothing here reads or passes it.
    """

    def __init__(
        self,
        run_folder: Path,
        *,
        project: str,
        entity: str | None,
        online: bool,
        patience_s: float = PATIENCE_S,
    ) -> None:
        """Raises OutageError where W&B's client is not installed, or its folder cannot be made."""
        self.how = "online" if online else "offline"
        self.live = online
        self._project, self._entity = project, entity
        self._patience_s = patience_s
        self._home = run_folder.resolve() / "wandb"
        try:
            self._home.mkdir(exist_ok=True)
            self._scratch = Path(tempfile.mkdtemp(prefix=".partial-", dir=self._home))
        except OSError as error:
            raise OutageError(
                f"{str(self._home)!r} must be a folder that can be written, but is not "
                f"({error.strerror or error}): move it away"
            ) from None
        # Artifacts that wait for `wandb sync` stay with the run; all other caches are deleted.
        data = self._scratch if online else self._home
        os.environ["WANDB_DATA_DIR"] = str(data)
        os.environ["WANDB_CACHE_DIR"] = os.environ["WANDB_ARTIFACT_DIR"] = str(self._scratch)
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        try:
            import wandb
        except ImportError:
            raise OutageError("W&B's client is not installed: `pip install wandb`") from None
        self._wandb: Any = wandb

    def open(self, run: TrackedRun) -> _Channel:
        """Begins or continues a run; raises OutageError."""
        settings = self._wandb.Settings(
            console="off",
            silent=True,
            disable_git=True,
            disable_code=True,
            init_timeout=self._patience_s,
            finish_timeout=self._patience_s,
            finish_timeout_raises=True,
            x_disable_stats=True,
            x_disable_machine_info=True,
            x_save_requirements=False,
        )
        online = self.how == "online"
        try:
            opened = self._wandb.init(
                project=self._project,
                entity=self._entity,
                dir=str(self._scratch),
                id=run.id,
                name=run.name,
                group=run.group,
                job_type=run.job_type,
                config=dict(run.config),
                tags=list(run.tags),
                mode=self.how,
                resume="allow" if online else None,
                reinit="create_new",
                settings=settings,
            )
        except Exception as error:
            raise OutageError(_sentence(error)) from None
        return _Channel(self._wandb, opened, None if online else self._home)

    def close(self) -> None:
        """Deletes the temporary files."""
        shutil.rmtree(self._scratch, ignore_errors=True)


class _Channel:
    """Implements ``Channel`` with a run of W&B's client."""

    def __init__(self, wandb: Any, opened: Any, home: Path | None) -> None:
        self._wandb, self._run, self._home = wandb, opened, home
        self.next_step = int(opened.starting_step)
        self.url = _shown_at(opened) if home is None else None

    def log(self, rows: Sequence[Row]) -> None:
        for row in rows:
            self._run.log(dict(row.values), step=row.step)
            self.next_step = row.step + 1

    def close(self, run: TrackedRun | None) -> None:
        try:
            if run is not None:
                self._complete(run)
            self._run.finish(exit_code=1 if run is not None and run.failed else 0)
        except Exception as error:
            raise OutageError(_sentence(error)) from None
        if self._home is not None:
            self._keep(self._home)

    def _complete(self, run: TrackedRun) -> None:
        self._run.tags = run.tags
        self._run.config.update(dict(run.config), allow_val_change=True)
        self._run.summary.update(dict(run.summary))
        last = max((row.step for row in run.rows), default=-1) + 1
        media: dict[str, Any] = {}
        if run.table:
            head, *rows = run.table
            # Otherwise W&B refuses columns that mix numbers and text.
            table = self._wandb.Table(columns=list(head), allow_mixed_types=True)
            for row in rows:
                table.add_data(*row)
            media["leaderboard"] = table
        if run.page is not None and run.page.exists():
            media["report"] = self._wandb.Html(run.page.read_text("utf-8"), inject=False)
        if media and self.next_step <= last:
            self._run.log(media, step=last)
            self.next_step = last + 1
        for given in run.artifacts:
            artifact = self._wandb.Artifact(given.name, type=given.kind)
            if given.folder is not None:
                artifact.add_dir(str(given.folder))
            for name, uri in given.references.items():
                artifact.add_reference(uri, name=name, checksum=False)
            self._run.log_artifact(artifact, aliases=list(given.aliases))

    def _keep(self, home: Path) -> None:
        """Moves a complete offline run from its temporary folder to its final one.

        If the process is killed before this, the folder left behind is not recognised as a run. If
        it is killed between this and the update of the cursor, the run is written again under the
        same name.
        """
        written = Path(self._run.dir).parent
        target = home / f"offline-run-{written.name.split('-run-', 1)[-1]}"
        for old in home.glob(f"offline-run-*-{self._run.id}"):
            shutil.rmtree(old, ignore_errors=True)
        shutil.move(written, target)


def _shown_at(opened: Any) -> str | None:
    """Returns where W&B shows the group of a run: all trials of its sweep."""
    try:
        project = opened.project_url
    except Exception:  # no page is worth a run that is not sent
        return None
    return f"{project}/groups/{quote(str(opened.group), safe='')}" if project else None


def _sentence(error: BaseException) -> str:
    """Returns the reason in one line; W&B's messages name addresses and files, never keys."""
    said = one_line(error)
    if "401" in said or "api_key" in said or "API key" in said or "login" in said:
        return f"W&B does not accept the key, or there is none: run `wandb login` ({said})"
    return f"W&B did not answer as it should ({said})"
