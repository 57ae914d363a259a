"""A scratch folder that its process deletes, or that the next one deletes if it was killed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

PREFIX = "jr-"
_OWNER = "owner"


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder of this process; what killed processes left behind is deleted first.

    Its file ``owner`` is locked while the process lives. The kernel lets go of a lock however a
    process ends, and a process number that was given anew, or that means another process in another
    container, deceives nobody.
    """
    temporary = Path(tempfile.gettempdir())
    delete_abandoned(temporary)
    folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=temporary))
    # Locked before it has its name: nobody finds an owner that looks dead.
    nameless = folder / f".{_OWNER}"
    with open(nameless, "w") as owner:
        fcntl.flock(owner, fcntl.LOCK_EX)
        os.replace(nameless, folder / _OWNER)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def delete_abandoned(temporary: Path) -> None:
    """Delete the scratch folders of processes that are gone; those of other users stay."""
    for owner in temporary.glob(f"{PREFIX}*/{_OWNER}"):
        with contextlib.suppress(OSError), open(owner, "r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for path in owner.parent.iterdir():
                if path != owner:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
            # Last: where something could not be deleted, the next process tries again.
            shutil.rmtree(owner.parent)
