"""Maps prepared rows from files into memory: read when touched, shared by all processes.

A folder holds one ``.npy`` file per array. Pickled, such rows are the folder's name, so that Ray's
object store never holds them and the runners of a machine share one copy in its page cache.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from jamba_ray.data.prepared import Rows
from jamba_ray.data.row_location import FREE_SHARE, free_bytes
from jamba_ray.errors import DataError

_CHUNK_ROWS = 65_536


class MappedRows(Rows):
    """Holds rows whose arrays are mapped read-only from a folder's files."""

    folder: Path

    def __init__(self, folder: Path) -> None:
        """Raises DataError where the folder is not on this machine."""
        try:
            super().__init__(
                *(_mapped(folder / f"{name}.npy") for name in ("x_num", "x_cat", "y")),
                *(
                    _mapped(file) if (file := folder / f"{name}.npy").exists() else None
                    for name in ("group", "bayes", "time", "place", "raw")
                ),
            )
        except (OSError, ValueError) as error:
            raise DataError(
                f"the prepared rows must lie in {folder} on every machine, but on "
                f"{os.uname().nodename} they cannot be read ({error}); set data.cache to a folder "
                "that all machines share."
            ) from error
        object.__setattr__(self, "folder", folder)

    def expect_disorder(self) -> None:
        """Tells the kernel that rows will be read in no order, where they do not fit the page
        cache.

        The kernel reads 128 kB around every row otherwise, which pushes out as many others: of
        480 MB in a control group of 400 MB, 164 rows/s were read so, 49,000 rows/s with this.
        """
        if self.x_num.nbytes + self.x_cat.nbytes > FREE_SHARE * free_bytes():
            self._advise(mmap.MADV_RANDOM)

    def expect_order(self) -> None:
        """Tells the kernel that rows will be read one after the other."""
        self._advise(mmap.MADV_NORMAL)

    def _advise(self, advice: int) -> None:
        for array in (self.x_num, self.x_cat):
            mapped: Any = array.base  # a ``memmap``, and that one's base is the file's mapping
            mapped.base.madvise(advice)

    def __reduce__(self) -> tuple[Any, ...]:
        """Packs the rows as their folder's name."""
        return MappedRows, (self.folder,)


def side_by_side(rows: Rows) -> npt.NDArray[np.float32]:
    """Returns numbers and codes side by side, [N, F_n + F_c] (codes are exact in float32 up to
    2^24).

    Of mapped rows it is a file without a name on the same disk.
    """
    n, width = rows.x_num.shape[1], rows.x_num.shape[1] + rows.x_cat.shape[1]
    if not isinstance(rows, MappedRows):
        return np.concatenate([rows.x_num, rows.x_cat.astype(np.float32)], axis=1)
    rows.expect_order()
    if width == n:
        return rows.x_num
    with tempfile.TemporaryFile(dir=rows.folder) as file:
        os.posix_fallocate(file.fileno(), 0, 4 * width * len(rows))
        matrix = np.memmap(file, np.float32, "r+", shape=(len(rows), width))
    for i in range(0, len(rows), _CHUNK_ROWS):
        some = slice(i, i + _CHUNK_ROWS)
        matrix[some, :n], matrix[some, n:] = rows.x_num[some], rows.x_cat[some]
    return np.asarray(matrix)


def new_array(file: Path, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Creates an array to fill, in a file of its final size.

    Raises:
        OSError: The disk is too full.
    """
    array: npt.NDArray[Any] = np.lib.format.open_memmap(file, mode="w+", dtype=dtype, shape=shape)
    with file.open("r+b") as stream:
        # A hole that cannot be filled later would end the process with SIGBUS.
        os.posix_fallocate(stream.fileno(), 0, file.stat().st_size)
    return np.asarray(array)


def _mapped(file: Path) -> npt.NDArray[Any]:
    # Not as np.memmap, whose pickle and copies would be of that class.
    return np.asarray(np.load(file, mmap_mode="r", allow_pickle=False))


def files_of(
    folder: Path,
) -> Callable[[str, str, tuple[int, int], npt.DTypeLike], npt.NDArray[Any]]:
    """Returns what makes the matrices of every part (``matrices.Make``) in a folder for each."""

    def make(
        part: str, name: str, shape: tuple[int, int], dtype: npt.DTypeLike
    ) -> npt.NDArray[Any]:
        (folder / part).mkdir(exist_ok=True)
        return new_array(folder / part / f"{name}.npy", shape, dtype)

    return make


def write_rest(folder: Path, rows: Rows) -> None:
    """Writes what ``rows`` hold besides the matrices."""
    for name in ("y", "group", "bayes", "time", "place", "raw"):
        values = getattr(rows, name)
        if values is not None:
            np.save(folder / f"{name}.npy", values, allow_pickle=False)
