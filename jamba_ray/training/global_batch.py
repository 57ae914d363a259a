"""Computes the gradient of one global batch, whatever the number of ranks and of parts it is cut
into."""

from __future__ import annotations

import torch
from torch import Tensor

from jamba_ray.config.training import Compile
from jamba_ray.data.prepared import FeatureSchema
from jamba_ray.training.compiled import Compiling, decide, has_compiler
from jamba_ray.training.device_rows import DeviceRows
from jamba_ray.training.loss import Criterion
from jamba_ray.training.precision import Format, LossScaler
from jamba_ray.training.ranks import Ranks, pieces
from jamba_ray.training.stack import Stack


class GlobalBatch:
    """Runs forward and backward passes of a stack over the training rows.

    A part's loss is divided by the rows of the whole batch and its dropout masks are those of its
    rows in the whole batch, so the sum over parts and ranks is what one process computes at once.
    """

    def __init__(
        self,
        stack: Stack,
        rows: DeviceRows,
        criterion: Criterion,
        number_format: Format,
        scaler: LossScaler | None,
        ranks: Ranks,
        accumulate: int,
    ) -> None:
        self._stack, self._rows, self._criterion = stack, rows, criterion
        self._format, self._scaler = number_format, scaler
        self._ranks, self._accumulate = ranks, accumulate
        self._choice = Compiling(False, "nothing was decided")
        self._made_for = stack.size
        """Members that are to be compiled for."""

    def decide(self, setting: Compile, n_steps: int, size: int) -> None:
        """Decides whether to compile the pass over a batch for ``size`` members, given ``n_steps``.

        ``compile_when_large`` does it.
        """
        device = self._stack.flat.device.type
        self._made_for = size
        self._choice = decide(
            setting,
            device_type=device,
            number_format=self._format.name,
            size=size,
            n_steps=n_steps,
            has_compiler=has_compiler(device),
            in_parts=self._ranks.size > 1 or self._accumulate > 1,
        )

    @property
    def compiling(self) -> Compiling:
        """Says whether the pass is compiled by now, and why."""
        if self._choice.on and not self._stack.is_compiled:
            return Compiling(False, "fewer train at a time than it is to be made for")
        return self._choice

    def compile_when_large(self, batch_rows: int, schema: FeatureSchema) -> None:
        """Compiles the pass over batches of ``batch_rows``, if that was decided.

        It does so once, when there are members enough for it to be faster.
        """
        if not self._choice.on or self._stack.is_compiled:
            return
        if self._stack.fills(self._made_for):
            self._compile(batch_rows, schema)

    def _compile(self, batch_rows: int, schema: FeatureSchema) -> None:
        """Compiles the pass; what fails to compile runs as before."""
        flat = self._stack.flat
        self._stack.start_at(0)
        shape = (self._stack.size, batch_rows)
        x_num = flat.new_zeros(*shape, len(schema.numeric))
        x_cat = flat.new_zeros(*shape, len(schema.categorical), dtype=torch.int64)
        try:
            with self._format.autocast(flat.device.type):
                self._stack.compile(x_num, x_cat, self._made_for)
        except Exception as error:
            why = str(error).strip().partition("\n")[0]
            self._choice = Compiling(
                False, f"it could not be compiled: {type(error).__name__}: {why}"
            )

    def foresee(self, index: Tensor, batch_rows: int) -> None:
        """Tells that the batches side by side in ``index`` [K, n * ``batch_rows``] come next."""
        parts = pieces(batch_rows, self._ranks, self._accumulate)
        starts = range(0, index.shape[1], batch_rows)
        self._rows.foresee(index[:, i + a : i + b] for i in starts for a, b in parts)

    def gradients(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Returns losses [K] of the batch of rows ``index`` [K, B], and gradients [K, P] times
        the loss scale; equal on all ranks."""
        if self._ranks.size == 1 and self._accumulate == 1:
            return self._part(index, 0, None)
        parts = [
            self._part(index[:, first:last], first, index.shape[1])
            for first, last in pieces(index.shape[1], self._ranks, self._accumulate)
        ]
        losses, gradients = (torch.stack(tensors).sum(0) for tensors in zip(*parts, strict=True))
        if self._ranks.size == 1:
            return losses, gradients
        # One message a step: latency, not bandwidth, is what small models pay.
        row = torch.cat([gradients, losses[:, None]], dim=1)
        self._ranks.sum_(row)
        return row[:, -1], row[:, :-1]

    def _part(self, index: Tensor, first: int, batch_rows: int | None) -> tuple[Tensor, Tensor]:
        x_num, x_cat, y = self._rows.gather(index)
        self._stack.start_at(first)
        with self._format.autocast(x_num.device.type):
            logits = self._stack.forward(x_num, x_cat)
        losses = self._criterion(logits, y, batch_rows)
        scaled = losses if self._scaler is None else losses * self._scaler.scale[:, 0]
        return losses.detach(), self._stack.gradients(scaled.sum())
