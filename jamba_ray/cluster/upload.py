"""Selects the files of the working folder that are uploaded to a cluster, and names large ones."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from jamba_ray.cluster import secret_files
from jamba_ray.cluster.ray_private import UPLOAD_EXCLUDES, WALK_UPLOAD
from jamba_ray.cluster.secret_files import looks_secret
from jamba_ray.config.plugin_modules import shipment
from jamba_ray.errors import ConfigError

EXCLUDES = (
    *(".git", ".venv", "venv", "__pycache__", "/runs", "/results", "/outputs", "/multirun"),
    *(".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis", ".import_linter_cache"),
)
"""Never uploaded, besides secrets and what `.gitignore` and `.rayignore` name. Folders of results
are those at the top: a package may have a folder ``runs``, as this one does."""
_LARGEST = 10


@dataclass(frozen=True)
class Upload:
    """Holds the files that are uploaded with a job."""

    folder: Path
    files: tuple[tuple[str, int], ...]
    """(path in the folder, bytes), the largest first."""
    withheld: tuple[str, ...] = ()
    """Files that are not uploaded because they hold secrets."""
    excludes: tuple[str, ...] = EXCLUDES
    """The patterns that leave exactly ``files``, for Ray."""

    @property
    def n_bytes(self) -> int:
        """Returns the bytes before compression."""
        return sum(size for _, size in self.files)

    def lines(self) -> list[str]:
        """Returns the size, the largest files, and the files that are not uploaded, as text."""
        total = f"{len(self.files)} files, {self.n_bytes / 1e6:.1f} MB from {self.folder}"
        largest = [f"{size / 1e6:9.2f} MB  {name}" for name, size in self.files[:_LARGEST]]
        stays = [f"not uploaded, a secret: {name}" for name in self.withheld[:_LARGEST]]
        if more := len(self.withheld) - len(stays):
            stays.append(f"not uploaded, secrets: {more} more")
        return [total, *largest, *stays]

    def suspects(self) -> list[tuple[str, str]]:
        """Returns (path, why) of the files that look like secrets."""
        found = [(name, looks_secret(self.folder / name, name)) for name, _ in self.files]
        return sorted((name, why) for name, why in found if why is not None)

    def without(self, names: Sequence[str]) -> Upload:
        """Returns the upload without some of its files."""
        files = tuple(file for file in self.files if file[0] not in names)
        excludes = (*self.excludes, *(_exactly(name) for name in names))
        return replace(self, files=files, excludes=excludes)

    def digest(self) -> str:
        """Returns the SHA-256 of the names and contents of the files."""
        whole = hashlib.sha256()
        for name, _ in sorted(self.files):
            with open(self.folder / name, "rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
            whole.update(f"{content} {name}\0".encode(errors="surrogateescape"))
        return whole.hexdigest()


def preview(folder: Path, allow: Sequence[str] = (), outputs: Sequence[str] = ()) -> Upload:
    """Walks the folder as Ray's own packaging does.

    Args:
        folder: The folder to upload.
        allow: Files in it that are no secrets, whatever their names are.
        outputs: Folders of runs and results, which are not uploaded: otherwise a downloaded result
            would make the same command another experiment.
    """
    allowed = [f"!{_exactly(name)}" for name in allow]
    inside = [os.path.relpath(folder / path, folder) for path in outputs if "://" not in path]
    left = [_exactly(path) for path in inside if path != "." and not path.startswith("..")]
    # In this order, so that an allowed path never includes `.git` again.
    excludes = (*secret_files.EXCLUDED, *allowed, *EXCLUDES, *left)
    files = _walk(folder, excludes)
    others = _walk(folder, (*EXCLUDES, *left))
    withheld = {name for name, _ in others} - {name for name, _ in files}
    largest_first = sorted(files, key=lambda file: (-file[1], file[0]))
    return Upload(folder, tuple(largest_first), tuple(sorted(withheld)), excludes)


def refuse_secrets(upload: Upload, allow: Sequence[str]) -> None:
    """Raises ``ConfigError`` where a file looks like a secret and its path was not allowed."""
    found = [(name, why) for name, why in upload.suspects() if name not in allow]
    if not found:
        return
    shown = [f"{name} ({why})" for name, why in found[:_LARGEST]]
    if more := len(found) - len(shown):
        shown.append(f"{more} more")
    names = ",".join(_quoted(name) for name, _ in found[:_LARGEST])
    raise ConfigError(
        [
            f"`submit` must upload no secrets, but these files look like some: {', '.join(shown)}. "
            "Name them in `.rayignore`, or, where they are none, "
            f"say {shlex.quote(f'submit.allow=[{names}]')}."
        ]
    )


def refuse_too_large(upload: Upload, max_mb: float) -> None:
    """Raises ``ConfigError`` where the upload is larger than allowed, naming the largest files."""
    if upload.n_bytes <= max_mb * 1e6:
        return
    names: Sequence[str] = [f"{name} ({size / 1e6:.1f} MB)" for name, size in upload.files[:3]]
    raise ConfigError(
        [
            f"`submit.max_upload_mb` must be at least the upload's {upload.n_bytes / 1e6:.1f} MB, "
            f"but is {max_mb:g}. Name what the sweep does not need in `.rayignore` (largest: "
            f"{', '.join(names)}), or raise it."
        ]
    )


def refuse_without_plugins(upload: Upload) -> None:
    """Raises ``ConfigError`` where the source of a plug-in of this folder is not uploaded."""
    uploaded = {name for name, _ in upload.files}
    mistakes = []
    for plugin in shipment():
        left = [name for name in plugin.files if name not in uploaded]
        if left and Path(plugin.root) == upload.folder.absolute():
            mistakes.append(
                f"`submit` must upload the plug-in `{plugin.module}`, but leaves out "
                f"{', '.join(sorted(left)[:3])}. Take it out of `.gitignore` and `.rayignore`, or "
                "install it on the nodes."
            )
    if mistakes:
        raise ConfigError(mistakes)


def _walk(folder: Path, excludes: Sequence[str]) -> list[tuple[str, int]]:
    found: list[tuple[str, int]] = []

    def note(path: Path) -> None:
        if path.is_file():
            found.append((str(path.relative_to(folder)), path.stat().st_size))

    silent = logging.getLogger("jamba_ray.upload")
    obeys = os.environ.get("RAY_RUNTIME_ENV_IGNORE_GITIGNORE", "0") != "1"  # as Ray decides
    skips = [UPLOAD_EXCLUDES.require()(folder, list(excludes))]
    WALK_UPLOAD.require()(folder, skips, note, include_gitignore=obeys, logger=silent)
    return found


def _quoted(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_./-]+", name) else json.dumps(name)


def _exactly(name: str) -> str:
    """Returns the pattern that matches this one file."""
    return "/" + re.sub(r"([\\\[\]*?#! ])", r"\\\1", name)
