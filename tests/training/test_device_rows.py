"""Batches are the same wherever the rows lie; what was foreseen is gathered ahead."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from jamba_ray.data import mapped_rows
from jamba_ray.data.mapped_rows import MappedRows, write_rest
from jamba_ray.data.row_location import Place, device_or_host
from jamba_ray.training.device_rows import ResidentRows, StreamedRows, place_of, rows_on, streaming
from tests.training.trials import make_data, make_rows


def indices(n: int, k: int = 3, b: int = 16, n_rows: int = 200) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randint(0, n_rows, (k, b), dtype=torch.int32, generator=generator) for _ in range(n)
    ]


def assert_equal(a, b) -> None:
    for one, other in zip(a, b, strict=True):
        assert one.dtype == other.dtype
        assert torch.equal(one, other)


def mapped(rows, folder: Path) -> MappedRows:
    folder.mkdir()
    np.save(folder / "x_num.npy", rows.x_num)
    np.save(folder / "x_cat.npy", rows.x_cat)
    write_rest(folder, rows)
    return MappedRows(folder)


@pytest.mark.parametrize("kind", ["host", "disk"])
def test_batches_and_chunks_are_those_of_resident_rows(tmp_path, kind):
    rows = make_rows(200, 1)
    resident = ResidentRows.of(rows, "cpu")
    streamed = StreamedRows(mapped(rows, tmp_path / "r") if kind == "disk" else rows, "cpu")
    assert len(streamed) == len(resident)
    batches = indices(40)
    streamed.foresee(batches)
    for index in batches:
        assert_equal(streamed.gather(index), resident.gather(index))
    # Slices of a wider index, as the engine has them, and one that nobody foresaw.
    slices = [batches[0][:, i : i + 4] for i in range(0, 16, 4)]
    streamed.foresee(slices)
    assert_equal(streamed.gather(batches[7]), resident.gather(batches[7]))
    for index in slices:
        assert_equal(streamed.gather(index), resident.gather(index))
    assert_equal(streamed.chunk(190, 210), resident.chunk(190, 210))


def test_what_is_foreseen_is_gathered_by_other_threads_before_it_is_asked_for(monkeypatch):
    streamed, done = StreamedRows(make_rows(200, 1), "cpu"), []
    true, here = StreamedRows._take, threading.get_ident()

    def take(self, index):
        assert threading.get_ident() != here
        tensors = true(self, index)
        done.append(index)
        return tensors

    monkeypatch.setattr(StreamedRows, "_take", take)
    batches = indices(20)
    streamed.foresee(batches)
    for n, index in enumerate(batches):
        streamed.gather(index)
        assert len(done) > n


def test_a_fault_of_the_disk_comes_out_where_the_batch_is_asked_for(monkeypatch):
    streamed = StreamedRows(make_rows(200, 1), "cpu")

    def take(self, index):
        raise OSError("Input/output error")

    monkeypatch.setattr(StreamedRows, "_take", take)
    (index,) = indices(1)
    streamed.foresee([index])
    with pytest.raises(OSError, match="Input/output"):
        streamed.gather(index)


@pytest.mark.parametrize(("free", "advised"), [(10**12, 0), (100, 2)])
def test_files_larger_than_memory_are_not_read_ahead(tmp_path, monkeypatch, free, advised):
    """Reading 128 kB around each row of 80 bytes made training 300 times as slow."""
    rows = mapped(make_rows(200, 1), tmp_path / "r")
    monkeypatch.setattr(mapped_rows, "free_bytes", lambda: free)
    streamed = StreamedRows(rows, "cpu")
    streamed.chunk(0, 10)
    assert read_in_no_order(tmp_path) == 0
    for _ in range(2):
        streamed.foresee([])
    assert read_in_no_order(tmp_path) == advised
    rows.expect_order()
    assert read_in_no_order(tmp_path) == 0


def read_in_no_order(folder: Path) -> int:
    """Of how many files below ``folder`` the kernel was asked not to read ahead (``rr``)."""
    found, within = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        name, *words = line.split()
        if not name.endswith(":"):
            within = bool(words) and words[-1].startswith(str(folder))
        elif name == "VmFlags:":
            found += within and "rr" in words
    return found


class TestPlace:
    def test_the_device_takes_what_fits_half_of_it(self):
        assert device_or_host(50, 100, "host").kind == "device"
        place = device_or_host(12_400_000_000, 16_000_000_000, "disk")
        assert place.kind == "disk"
        assert (
            place.reason
            == "their 12.4 GB are more than 50% of the 16.0 GB that are free on the GPU"
        )

    @pytest.mark.parametrize("asked", ["host", "disk", "device"])
    def test_who_asks_is_served(self, asked):
        beside = "disk" if asked == "disk" else "host"
        assert device_or_host(1, 10**9, beside, asked).kind == asked
        assert device_or_host(10**9, 1, beside, asked).kind == asked

    def test_a_gpu_is_asked_how_much_is_free_and_a_sentence_says_what_follows(self, monkeypatch):
        data, held = make_data(1000, 1000), {"memory_reserved": 80_000, "memory_allocated": 20_000}
        for name, n_bytes in held.items():
            monkeypatch.setattr(torch.cuda, name, lambda device, n=n_bytes: n)
        for free, kind in ((40_000, "host"), (20_000, "host"), (100_000, "device")):
            monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, n=free: (n, 10**9))
            assert place_of(data, "cuda").kind == kind  # 2,000 rows of 36 bytes
        assert streaming(data, "cuda") is None
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (0, 10**9))
        assert streaming(data, "cuda") == (
            "Rows stay in host memory and are copied to the GPU batch by batch: their 0.1 MB are "
            "more than 50% of the 0.1 MB that are free on the GPU."
        )
        assert streaming(replace(data, rows_in="device"), "cuda") is None
        assert streaming(data, "cpu") is None

    def test_a_cpu_uses_rows_where_they_lie(self, tmp_path):
        data = make_data(20, 20)
        assert place_of(data, "cpu").kind == "host"
        assert isinstance(rows_on(data.train, "cpu", Place("host", "")), ResidentRows)
        assert isinstance(rows_on(data.train, "cpu", Place("disk", "")), StreamedRows)
