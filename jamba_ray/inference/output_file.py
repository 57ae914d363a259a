"""Writes an output file as a whole or not at all, and never over one that must stay."""

from __future__ import annotations

import errno
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from jamba_ray.errors import RunExistsError, StorageError


@contextmanager
def whole_file(path: Path, *, overwrite: bool) -> Iterator[IO[bytes]]:
    """Yields a temporary file that is renamed to ``path`` when the block ends without an error.

    Raises:
        RunExistsError: ``path`` exists and ``overwrite`` is false, or it is no regular file.
        StorageError: The disk refuses the write.
    """
    refuse_used(path, overwrite=overwrite)
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "wb", buffering=1 << 20) as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            umask = os.umask(0)
            os.umask(umask)
            os.chmod(temporary, 0o666 & ~umask)
            if overwrite:
                os.replace(temporary, path)
            else:
                _rename_to_unused(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        if not path.parent.is_dir():
            raise StorageError(
                f"the folder of the output must exist, but {str(path.parent)!r} does not. Make it, "
                "or choose another `output=`."
            ) from error
        way_out = "Free some space or choose" if error.errno == errno.ENOSPC else "Choose"
        raise StorageError(
            f"{str(path)!r} must be writable, but is not ({error.strerror or error}). {way_out} "
            "another `output=`."
        ) from error


@contextmanager
def standard_output() -> Iterator[IO[bytes]]:
    """Yields standard output and flushes it when the block ends; written bytes cannot be taken
    back."""
    stream = sys.stdout.buffer
    yield stream
    stream.flush()


def _rename_to_unused(temporary: str, path: Path) -> None:
    try:
        os.link(temporary, path)  # unlike a rename, never replaces a file that came meanwhile
    except FileExistsError:
        refuse_used(path, overwrite=False)
    except OSError:  # a file system without hard links
        refuse_used(path, overwrite=False)
        os.replace(temporary, path)
        return
    os.unlink(temporary)


def refuse_used(path: Path, *, overwrite: bool) -> None:
    """Raises RunExistsError where the output would replace a file that it must not replace."""
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise RunExistsError(
            f"the output must be a file of its own, but {str(path)!r} is something else. Choose "
            "another `output=`."
        )
    if path.exists() and not overwrite:
        raise RunExistsError(
            f"the output must not exist yet, but {str(path)!r} does. Replace it with "
            "`overwrite=true`, or choose another `output=`."
        )


def refuse_input(path: Path, files: Sequence[Path], given: str) -> None:
    """Raises RunExistsError where the output is one of the ``files`` of rows, or would be the next
    time that the folder ``given`` is scored."""
    if path.exists() and any(file.samefile(path) for file in files):
        raise RunExistsError(
            f"the output must be another file than the rows, but {str(path)!r} holds rows. Choose "
            "another `output=`."
        )
    if Path(given).is_dir() and path.resolve().is_relative_to(Path(given).resolve()):
        raise RunExistsError(
            f"the output must lie outside of the folder of the rows, but {str(path)!r} lies in "
            f"{given!r} and would be scored with it the next time. Choose another `output=`."
        )
