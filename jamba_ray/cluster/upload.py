"""What of the working folder travels to the cluster, and which files make it large."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jamba_ray.errors import ConfigError

EXCLUDES = (
    *(".git", ".venv", "venv", "__pycache__", "runs", "results", "outputs", "multirun"),
    *(".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis", ".import_linter_cache"),
)
"""Never uploaded, besides what `.gitignore` and `.rayignore` name."""
_LARGEST = 10


@dataclass(frozen=True)
class Upload:
    """The files that a job takes with it."""

    folder: Path
    files: tuple[tuple[str, int], ...]
    """(path in the folder, bytes), the largest first."""

    @property
    def n_bytes(self) -> int:
        """Bytes before compression."""
        return sum(size for _, size in self.files)

    def lines(self) -> list[str]:
        """For people: the sum, then the largest files."""
        total = f"{len(self.files)} files, {self.n_bytes / 1e6:.1f} MB from {self.folder}"
        largest = [f"{size / 1e6:9.2f} MB  {name}" for name, size in self.files[:_LARGEST]]
        return [total, *largest]


def preview(folder: Path) -> Upload:
    """Walk the folder as Ray's own packaging does."""
    from ray._private.runtime_env.packaging import _dir_travel, _get_excludes

    found: list[tuple[str, int]] = []

    def note(path: Path) -> None:
        if path.is_file():
            found.append((str(path.relative_to(folder)), path.stat().st_size))

    silent = logging.getLogger("jamba_ray.upload")
    excludes = [_get_excludes(folder, list(EXCLUDES))]
    _dir_travel(folder, excludes, note, include_gitignore=True, logger=silent)
    return Upload(folder, tuple(sorted(found, key=lambda file: (-file[1], file[0]))))


def refuse_too_large(upload: Upload, max_mb: float) -> None:
    """Raise ``ConfigError`` where the upload is larger than allowed, naming the largest files."""
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
