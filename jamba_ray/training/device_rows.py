"""Holds rows on the device for the whole trial, or copies them to it batch by batch.

Rows that do not fit the device's memory stay in the host's, or in mapped files. Their batches are
gathered ahead by threads, so that the device does not wait for memory, nor a CPU for the disk.

Letters: K stacked trials, N rows, F_n / F_c numeric / categorical features.
"""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from jamba_ray.data.mapped_rows import MappedRows
from jamba_ray.data.prepared import PreparedData, Rows
from jamba_ray.data.row_location import Place, device_or_host

_AHEAD = {"host": 8, "disk": 32}
"""Batches that are gathered at a time, each by a thread: a disk answers many reads at once (3,000
rows/s to one thread, 28,000 to 8, 49,000 to 32; 2026-11-21)."""

Batch: TypeAlias = tuple[Tensor, Tensor, Tensor]
"""x_num [K, B, F_n], x_cat [K, B, F_c], y [K, B]."""


class DeviceRows(Protocol):
    """Defines rows that can be fetched on the device, wherever they lie."""

    @property
    def device(self) -> torch.device:
        """Returns the device of the batches."""
        ...

    @property
    def index_device(self) -> str:
        """Returns the device on which ``gather`` expects its index."""
        ...

    def __len__(self) -> int:
        """Returns N."""
        ...

    def foresee(self, indices: Iterable[Tensor]) -> None:
        """Tells for which indices ``gather`` will be called next."""
        ...

    def gather(self, index: Tensor) -> Batch:
        """Gathers the rows of each member: int32 [K, B] -> [K, B, F_n], [K, B, F_c], [K, B]."""
        ...

    def chunk(self, first: int, last: int) -> tuple[Tensor, Tensor]:
        """Returns the features of the rows ``first`` .. ``last`` - 1, fewer at the end."""
        ...


@dataclass(frozen=True)
class ResidentRows:
    """Holds rows as tensors on the device, for the whole of a trial."""

    x_num: Tensor
    """float32 [N, F_n]."""
    x_cat: Tensor
    """int64 [N, F_c]."""
    y: Tensor
    """float32 [N]."""

    @classmethod
    def of(cls, rows: Rows, device: str) -> ResidentRows:
        """Makes tensors of ``rows``: on a CPU without a copy, also of read-only arrays (shared
        memory)."""
        return cls(*(_tensor(a).to(device) for a in (rows.x_num, rows.x_cat, rows.y)))

    def __len__(self) -> int:
        return len(self.y)

    @property
    def device(self) -> torch.device:
        """Returns the device of the rows."""
        return self.y.device

    @property
    def index_device(self) -> str:
        """Returns the device on which ``gather`` expects its index."""
        return str(self.y.device)

    def foresee(self, indices: Iterable[Tensor]) -> None:
        """Does nothing: all rows are there."""

    def gather(self, index: Tensor) -> Batch:
        """Gathers the rows of each member; see ``DeviceRows``."""
        k, b = index.shape
        flat = index.reshape(-1)
        x_num = self.x_num.index_select(0, flat).view(k, b, self.x_num.shape[1])
        x_cat = self.x_cat.index_select(0, flat).view(k, b, self.x_cat.shape[1])
        return x_num, x_cat, self.y.index_select(0, flat).view(k, b)

    def chunk(self, first: int, last: int) -> tuple[Tensor, Tensor]:
        """Returns the features of some rows; see ``DeviceRows``."""
        return self.x_num[first:last], self.x_cat[first:last]


class StreamedRows:
    """Holds rows in host memory or in mapped files; each batch is gathered there and copied."""

    index_device = "cpu"

    def __init__(self, rows: Rows, device: str) -> None:
        self.device = torch.device(device)
        self._arrays: Sequence[npt.NDArray[Any]] = (rows.x_num, rows.x_cat, rows.y)
        self._mapped = rows if isinstance(rows, MappedRows) else None
        self._ahead = _AHEAD["host" if self._mapped is None else "disk"]
        self._pool = ThreadPoolExecutor(self._ahead, thread_name_prefix="jamba_ray-rows")
        self._coming: Iterator[Tensor] = iter(())
        self._gathered: deque[tuple[Tensor, Future[list[Tensor]]]] = deque()

    def __len__(self) -> int:
        return len(self._arrays[-1])

    def foresee(self, indices: Iterable[Tensor]) -> None:
        """Starts to gather the first index; each ``gather`` starts one more."""
        if self._mapped is not None:
            self._mapped.expect_disorder()
            self._mapped = None  # once is enough
        for _, future in self._gathered:
            future.cancel()
        self._gathered.clear()
        self._coming = iter(indices)
        for _ in range(self._ahead):
            self._begin()

    def gather(self, index: Tensor) -> Batch:
        """Gathers the rows of each member; waits for nothing where the index was foreseen early
        enough."""
        if self._gathered and torch.equal(self._gathered[0][0], index):
            tensors = self._gathered.popleft()[1].result()
            self._begin()
        else:
            tensors = self._take(index)
        # From pinned memory, so that the copy does not wait for what the device has still to do.
        x_num, x_cat, y = (tensor.to(self.device, non_blocking=True) for tensor in tensors)
        return x_num, x_cat, y

    def chunk(self, first: int, last: int) -> tuple[Tensor, Tensor]:
        """Returns the features of some rows; see ``DeviceRows``."""
        x_num, x_cat, _ = (_tensor(array[first:last]).to(self.device) for array in self._arrays)
        return x_num, x_cat

    def _begin(self) -> None:
        index = next(self._coming, None)
        if index is not None:
            self._gathered.append((index, self._pool.submit(self._take, index)))

    def _take(self, index: Tensor) -> list[Tensor]:
        """Takes rows with NumPy's ``take``, which releases the interpreter and starts no
        threads."""
        flat, taken = index.reshape(-1).numpy(), []
        for array in self._arrays:
            tensor = torch.empty(
                (*index.shape, *array.shape[1:]),
                dtype=_tensor(array[:0]).dtype,
                pin_memory=self.device.type == "cuda",
            )
            out = tensor.numpy().reshape(len(flat), *array.shape[1:])
            np.take(array, flat, axis=0, out=out, mode="clip")  # "raise" would copy once more
            taken.append(tensor)
        return taken


def rows_on(rows: Rows, device: str, place: Place) -> DeviceRows:
    """Returns ``rows`` where ``place`` says."""
    if place.kind == "device" or (device == "cpu" and place.kind == "host"):
        return ResidentRows.of(rows, device)
    return StreamedRows(rows, device)


def place_of(data: PreparedData, device: str) -> Place:
    """Decides where the rows of a trial on ``device`` lie while it trains, and why."""
    beside: Literal["disk", "host"] = "disk" if isinstance(data.train, MappedRows) else "host"
    if not device.startswith("cuda"):
        return Place(beside, "that is where they were prepared")
    n_bytes = sum(_n_bytes(rows) for rows in (data.train, data.val))
    free, _ = torch.cuda.mem_get_info(device)
    # What torch holds from earlier trials is free for this one.
    free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return device_or_host(n_bytes, free, beside, data.rows_in)


def streaming(data: PreparedData, device: str) -> str | None:
    """Returns a sentence that says why rows are copied to a GPU batch by batch; None where they
    are not."""
    place = place_of(data, device)
    if device == "cpu" or place.kind == "device":
        return None
    where = "in host memory" if place.kind == "host" else "on disk"
    return f"Rows stay {where} and are copied to the GPU batch by batch: {place.reason}."


def _n_bytes(rows: Rows) -> int:
    return rows.x_num.nbytes + rows.x_cat.nbytes + rows.y.nbytes


def _tensor(array: npt.NDArray[Any]) -> Tensor:
    with warnings.catch_warnings():
        # Nothing here writes to rows, so that torch cannot mark a tensor read-only is no harm.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)
