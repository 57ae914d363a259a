"""Runs the process that writes a run's TensorBoard files.

``python -m jamba_ray.tracking.follow_tensorboard <run folder>``. It reads the files of the run
folder; if it dies, only its own event files are lost.
"""

from __future__ import annotations

import sys
from pathlib import Path

from jamba_ray.errors import ExitCode, StorageError
from jamba_ray.tracking.polling import POLL_S, mark, say, step_back, told_to_end
from jamba_ray.tracking.run_reader import tracked_runs
from jamba_ray.tracking.tensorboard_client import EventFiles


def main(folder: Path) -> int:
    """Writes rows until stdin is closed, then writes the rest; exit code 74 where the disk
    refuses."""
    step_back()
    ending, seen = False, None
    try:
        files = EventFiles(folder)
        while True:
            now = mark(folder)
            if ending or now != seen:
                try:
                    files.write(tracked_runs(folder, birth=""))
                    seen = now
                except StorageError as error:  # the study is still being created
                    if ending:
                        say(error.message)
                        return ExitCode.STORAGE
            if ending:
                files.close()
                return ExitCode.OK
            ending = told_to_end(POLL_S)
    except OSError as error:
        say(f"the TensorBoard files could not be written ({error}).")
        return ExitCode.STORAGE


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
