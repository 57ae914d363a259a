"""Says where a served model comes from: an exported file, a run, or a version of the registry."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from jamba_ray.config.command_line import override
from jamba_ray.config.names import nearest
from jamba_ray.errors import ConfigError, NoRunError
from jamba_ray.serving.model import ServedModel
from jamba_ray.versions.model_log import known_log
from jamba_ray.versions.opening import number_of
from jamba_ray.versions.place import place_of
from jamba_ray.versions.reference import is_reference, opened, parse_reference

_MAX_BYTES = 1 << 32
_EXPORT_S = 900.0


@dataclass(frozen=True)
class Source:
    """Names a model as the user does."""

    text: str
    registry: str
    threads: int = 1

    @property
    def is_reference(self) -> bool:
        """Says whether it is a version of the registry, to which an alias may point anew."""
        return is_reference(self.text) and not os.path.exists(self.text)

    def read(self) -> ServedModel:
        """Reads the model and checks that it gives the answers that it was proven to.

        Raises:
            JambaError: There is none, it is damaged, or the registry refuses it.
        """
        if self.is_reference:
            return self._of_registry()
        path = Path(self.text)
        if path.suffix == ".onnx":
            return ServedModel(_content(path), path.stem, None, self.threads)
        if "://" not in self.text and not path.is_dir():
            close = nearest(path.name, _models_beside(path))
            raise NoRunError(
                f"`model` must be an .onnx file, a run or a version of the registry, but "
                f"{self.text!r} is none{close or '. Give one, such as `model=runs/<run>`.'}"
            )
        name = path.resolve().parent.name if path.name == "best" else path.name
        return ServedModel(exported(self.text), name, None, self.threads)

    def version(self) -> str:
        """Returns the version that a reference means now, by the model's log alone.

        Raises:
            JambaError: There is none, or the registry refuses it.
        """
        reference = parse_reference(self.text)
        log = known_log(place_of(self.registry), reference.name)
        log.refuse_unsigned()
        return f"{reference.name}@{number_of(log, reference)}"

    def _of_registry(self) -> ServedModel:
        found = opened(self.text, self.registry)
        path = found.exports.get("onnx")
        raw = exported(str(found.folder)) if path is None else _content(path)
        return ServedModel(raw, found.name, f"{found.name}@{found.number}", self.threads)


def exported(run: str) -> bytes:
    """Returns the ONNX file of a run, made by a process of its own: it needs torch, which this one
    must not load.

    Raises:
        ConfigError: The export fails; its sentence says why.
    """
    with tempfile.TemporaryDirectory(prefix="jamba_ray-") as folder:
        output = Path(folder) / "model.onnx"
        words = [override("run", run), override("output", str(output))]
        try:
            done = subprocess.run(
                [sys.executable, "-m", "jamba_ray.export", *words],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_EXPORT_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise ConfigError(
                [
                    f"the export of {run!r} must end within {_EXPORT_S:g} s, but does not. Export "
                    "it before, and serve the file."
                ]
            ) from error
        if done.returncode != 0:
            lines = [line for line in done.stderr.splitlines() if line.strip()]
            why = " ".join(lines)[-600:].removeprefix("error: ").rstrip(".")
            raise ConfigError([f"{run!r} must be exported to be served, but {why}."])
        return _content(output)


def _content(path: Path) -> bytes:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ConfigError(
                [
                    f"a served model must have at most {_MAX_BYTES >> 30} GiB, but {str(path)!r} "
                    "has more. Export a smaller one."
                ]
            )
        return path.read_bytes()
    except OSError as error:
        close = nearest(path.name, _models_beside(path))
        raise NoRunError(
            f"`model` must be a file that can be read, but {str(path)!r} cannot "
            f"({error.strerror or error}){close or '. Export one with `jamba-ray export <run>`.'}"
        ) from error


def _models_beside(path: Path) -> list[str]:
    folder = path.resolve().parent
    return [p.name for p in folder.iterdir()][:1000] if folder.is_dir() else []
