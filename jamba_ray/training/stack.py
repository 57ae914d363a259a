"""Runs K modules of one structure as one: parameters in flat rows, one forward for all members.

Letters: K stacked trials, P parameters of one member, B batch.

Row k of ``flat`` [K, P] holds member k's parameters; every parameter tensor is a view of it, so the
optimizer, clipping, snapshots and the removal of members each are a few operations on one tensor.
With K = 1 the module itself is bound to the row and called as ever; with K > 1 it is vmapped
(``torch.func``). Masks of dropout depend on each member's step key alone (``models.dropout``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from jamba_ray.models.attention import SelfAttention
from jamba_ray.models.dropout import Dropout, key_names
from jamba_ray.models.tokens import rows_side_by_side
from jamba_ray.training.compiled import compiled

_ALIGN = 16
"""Parameters start at multiples of 16 floats (64 bytes), as fresh tensors would."""


@dataclass(frozen=True)
class Slot:
    """Says where a parameter lies in a row."""

    name: str
    shape: torch.Size
    start: int

    @property
    def stop(self) -> int:
        """Returns the position after its last element."""
        return self.start + self.shape.numel()


@dataclass(frozen=True)
class Layout:
    """Lists all slots of a row; those with weight decay come first."""

    slots: tuple[Slot, ...]
    n_parameters: int
    """P, with the gaps of alignment (they stay zero)."""
    n_decayed: int

    @classmethod
    def of(cls, module: nn.Module) -> Layout:
        """Lays the parameters of ``module`` out.

        Decay is for tensors of two and more dimensions: never for biases or norms.
        """
        parameters = sorted(module.named_parameters(), key=lambda item: item[1].ndim < 2)
        slots, start, n_decayed = [], 0, 0
        for name, parameter in parameters:
            slots.append(Slot(name, parameter.shape, start))
            start += -(-parameter.numel() // _ALIGN) * _ALIGN
            n_decayed = start if parameter.ndim >= 2 else n_decayed
        return cls(tuple(slots), start, n_decayed)

    def views(self, row: Tensor) -> dict[str, Tensor]:
        """Returns parameters as views of a row [P], or of rows [K, P]."""
        lead = row.shape[:-1]
        return {s.name: row[..., s.start : s.stop].view(*lead, *s.shape) for s in self.slots}


class Stack:
    """Holds the members' weights and buffers, and computes with all of them at once."""

    def __init__(self, modules: Sequence[nn.Module], device: str) -> None:
        self._template = modules[0].to(device)
        self.layout = Layout.of(self._template)
        self.flat = torch.zeros(len(modules), self.layout.n_parameters, device=device)
        """float32 [K, P]."""
        self._keys = key_names(self._template)
        self._dropouts = [m for m in self._template.modules() if isinstance(m, Dropout)]
        self._attentions = [m for m in self._template.modules() if isinstance(m, SelfAttention)]
        self._persistent = set(self._template.state_dict())
        members = [dict(module.named_buffers()) for module in modules]
        self.buffers: dict[str, Tensor] = {}
        """[K, ...], those that members own."""
        self._shared: dict[str, Tensor] = {}
        for name in members[0]:
            if name not in self._keys:
                self._add_buffer(name, [buffers[name] for buffers in members], device)
        self.step_keys = torch.zeros(len(modules), dtype=torch.int32, device=device)
        """int32 [K], what every dropout layer takes as key; the engine sets it."""
        with torch.no_grad():
            for k, module in enumerate(modules):
                views = self.layout.views(self.flat[k])
                for name, parameter in module.named_parameters():
                    views[name].copy_(parameter)
        self._compiled: Callable[..., Tensor] | None = None
        self._compiled_size = 0
        self._bind()

    @property
    def size(self) -> int:
        """Returns K."""
        return len(self.flat)

    def train(self, mode: bool = True) -> None:
        """Sets training or evaluation behaviour of the layers."""
        self._template.train(mode)

    def start_at(self, row: int) -> None:
        """Sets where in the batch the rows of the next forward pass stand (masks depend on it)."""
        for dropout in self._dropouts:
            dropout.first_row = row

    def forward(self, x_num: Tensor, x_cat: Tensor) -> Tensor:
        """Computes each member on its own rows: [K, B, F_n], [K, B, F_c] -> logits [K, B]."""
        fits = self._template.training and self.fills(self._compiled_size)
        call = self._compiled if fits else None
        if self.size == 1:
            logits: Tensor
            if call is None:
                logits = self._template(x_num[0], x_cat[0])
            else:
                logits = call(rows_side_by_side(x_num[0]), x_cat[0])
            return logits.unsqueeze(0)
        if call is None:
            return self._vmapped(x_num, x_cat, 0)
        return self._padded(call, x_num, x_cat)

    @property
    def is_compiled(self) -> bool:
        """Says whether ``compile`` was called and worked."""
        return self._compiled is not None

    def fills(self, n_rows: int) -> bool:
        """Says whether what is compiled for ``n_rows`` members serves those there are."""
        if self.size in (1, n_rows):
            return self.size == n_rows
        # What a batch norm writes into a padded copy would be lost.
        has_state = any(name in self._persistent for name in self.buffers)
        return not has_state and n_rows / 2 <= self.size < n_rows

    def compile(self, x_num: Tensor, x_cat: Tensor, n_rows: int) -> None:
        """Compiles ``forward`` and its gradient for inputs of these tensor shapes and ``n_rows``
        members.

        Those there are must fill it; fewer are padded, down to a half: below
        that, less work is faster.

        Raises:
            Exception: Whatever the compiler raises; the stack then works as before.
        """
        self._template.train()
        before = {name: rows.clone() for name, rows in self.buffers.items()}
        self._compiled_size = n_rows
        self._compiled = compiled(self._template if self.size == 1 else self._batched)
        self._bind()
        try:
            self.gradients(self.forward(x_num, x_cat).sum())
        except Exception:
            self._compiled, self._compiled_size = None, 0
            self._bind()
            raise
        finally:
            # A batch norm has seen a batch.
            for name, rows in self.buffers.items():
                rows.copy_(before[name])

    def forward_shared(self, x_num: Tensor, x_cat: Tensor) -> Tensor:
        """Computes all members on the same rows: [B, F_n], [B, F_c] -> logits [K, B]."""
        if self.size == 1:
            logits: Tensor = self._template(x_num, x_cat)
            return logits.unsqueeze(0)
        return self._vmapped(x_num, x_cat, None)

    def forward_of(self, members: Sequence[int]) -> Callable[[Tensor, Tensor], Tensor]:
        """Returns ``forward_shared`` of some members, as they are now."""
        if len(members) == self.size:
            return self.forward_shared
        index = list(members)
        rows = {name: rows[index] for name, rows in self.buffers.items()}
        some = {**self.layout.views(self.flat[index]), **rows}
        some |= dict.fromkeys(self._keys, self.step_keys[index])
        return lambda x_num, x_cat: self._vmapped(x_num, x_cat, None, some)

    def forward_one(
        self, weights: dict[str, Tensor], x_num: Tensor, x_cat: Tensor, k: int = 0
    ) -> Tensor:
        """Computes member k with the given ``weights`` (as ``state`` gives them): logits [B]."""
        buffers = {**self._shared, **{name: rows[k] for name, rows in self.buffers.items()}}
        logits: Tensor = functional_call(self._template, {**buffers, **weights}, (x_num, x_cat))
        return logits

    def gradients(self, loss: Tensor) -> Tensor:
        """Computes d ``loss`` / d ``flat``, [K, P]: row k is of member k where losses were
        summed."""
        pieces = torch.autograd.grad(loss, self._leaves, materialize_grads=True)
        # Gaps of alignment get zeros: the optimizer works on whole rows.
        columns: list[Tensor] = []
        for piece, slot, gap in zip(pieces, self.layout.slots, self._gaps, strict=True):
            columns.append(piece.reshape(-1, slot.shape.numel())[: self.size])
            if gap is not None:
                columns.append(gap)
        return torch.cat(columns, dim=1)

    def state(self, k: int) -> dict[str, Tensor]:
        """Returns a copy of member k's parameters and persistent buffers, under ``state_dict``
        names."""
        own = {n: rows[k].clone() for n, rows in self.buffers.items() if n in self._persistent}
        return {**self.layout.views(self.flat[k].clone()), **own}

    @torch.no_grad()
    def load(self, k: int, state: dict[str, Tensor]) -> None:
        """Loads what ``state`` returned."""
        for name, view in self.layout.views(self.flat[k]).items():
            view.copy_(state[name])
        for name, rows in self.buffers.items():
            if name in self._persistent:
                rows[k].copy_(state[name])

    def keep(self, members: Sequence[int]) -> None:
        """Drops all members but these."""
        index = list(members)
        self.flat = self.flat[index]
        self.buffers = {name: rows[index] for name, rows in self.buffers.items()}
        self.step_keys = self.step_keys[index]
        self._bind()

    def append(self, other: Stack) -> None:
        """Appends the members of ``other`` to those there are."""
        for name in [*self.buffers, *self._shared]:
            rows = [*self._buffer(name), *other._buffer(name)]
            self.buffers.pop(name, None)
            self._shared.pop(name, None)
            self._add_buffer(name, rows, str(self.flat.device))
        self.flat = torch.cat([self.flat, other.flat])
        self.step_keys = torch.cat([self.step_keys, other.step_keys])
        self._bind()

    def _buffer(self, name: str) -> Tensor:
        """Returns a buffer of each member: [K, ...]."""
        if name in self.buffers:
            return self.buffers[name]
        shared = self._shared[name]
        return shared.expand(self.size, *shared.shape)

    def _add_buffer(self, name: str, rows: list[Tensor], device: str) -> None:
        """Adds a buffer; constants that are the same in all members are not stacked, so that
        vmap need not batch them."""
        rows = [row.to(device) for row in rows]
        is_constant = name not in self._persistent
        if is_constant and len(rows) > 1 and all(torch.equal(rows[0], row) for row in rows):
            self._shared[name] = rows[0]
        else:
            self.buffers[name] = torch.stack(rows)

    def _bind(self) -> None:
        """Binds the leaves (and with K = 1 the module itself) to the current storage."""
        starts = [*(slot.start for slot in self.layout.slots[1:]), self.layout.n_parameters]
        self._gaps = [
            self.flat.new_zeros(self.size, start - slot.stop) if start > slot.stop else None
            for slot, start in zip(self.layout.slots, starts, strict=True)
        ]
        for attention in self._attentions:
            attention.is_vmapped = self.size > 1
        if self.size == 1:
            self._bind_module()
            return
        # Leaves share storage with ``flat``, which the optimizer changes in place. Rows past the
        # members' fill up what was compiled: same shapes and strides, zero weights, no effect.
        storage, n_rows = self.flat.detach(), self._n_rows()
        if n_rows > self.size:
            storage = self.flat.new_zeros(n_rows, self.layout.n_parameters)
            storage[: self.size] = self.flat
            self.flat = storage[: self.size]
        views = self.layout.views(storage)
        self._parameters = {name: view.requires_grad_() for name, view in views.items()}
        self._leaves = list(self._parameters.values())

    def _bind_module(self) -> None:
        views = self.layout.views(self.flat[0])
        parameters = dict(self._template.named_parameters())
        for name, parameter in parameters.items():
            parameter.data = views[name]
        self._leaves = [parameters[slot.name] for slot in self.layout.slots]
        own = {name: rows[0] for name, rows in self.buffers.items()}
        keys = dict.fromkeys(self._keys, self.step_keys[0])
        for name, tensor in {**self._shared, **own, **keys}.items():
            path, _, last = name.rpartition(".")
            setattr(self._template.get_submodule(path), last, tensor)

    def _vmapped(
        self,
        x_num: Tensor,
        x_cat: Tensor,
        x_dim: int | None,
        own: dict[str, Tensor] | None = None,
    ) -> Tensor:
        own = self._own() if own is None else own
        return self._batched(self._shared, own, x_num, x_cat, x_dim)

    def _own(self) -> dict[str, Tensor]:
        """Returns what members have each of their own: [K, ...] by name."""
        keys = dict.fromkeys(self._keys, self.step_keys)
        weights = {name: rows[: self.size] for name, rows in self._parameters.items()}
        return {**weights, **self.buffers, **keys}

    def _n_rows(self) -> int:
        """Returns the rows of the leaves: as many as were compiled for, where that serves those
        there are."""
        return self._compiled_size if self.fills(self._compiled_size) else self.size

    def _padded(self, call: Callable[..., Tensor], x_num: Tensor, x_cat: Tensor) -> Tensor:
        """Calls ``call`` on as many rows as it was compiled for; those too many repeat the last."""
        buffers, keys = self.buffers, self.step_keys
        if self._compiled_size > self.size:
            index = torch.arange(self._compiled_size, device=self.flat.device)
            index = index.clamp_(max=self.size - 1)
            buffers = {name: rows[index] for name, rows in buffers.items()}
            keys, x_num, x_cat = keys[index], x_num[index], x_cat[index]
        # One and the same tensor for all layers: what is one and what is two is compiled in.
        own = {**self._parameters, **buffers, **dict.fromkeys(self._keys, keys)}
        return call(self._shared, own, rows_side_by_side(x_num), x_cat, 0)[: self.size]

    def _batched(
        self,
        shared: dict[str, Tensor],
        own: dict[str, Tensor],
        x_num: Tensor,
        x_cat: Tensor,
        x_dim: int | None,
    ) -> Tensor:
        def one(own: dict[str, Tensor], x_num: Tensor, x_cat: Tensor) -> Tensor:
            # Bound to one member, the module's layers shared one key; that ties nothing.
            logits: Tensor = functional_call(
                self._template, {**shared, **own}, (x_num, x_cat), tie_weights=False
            )
            return logits

        # "different" is for modules with a generator of their own (torch's nn.Dropout): they train,
        # but their masks depend on the neighbours, unlike those of ``models.dropout``.
        batched = vmap(one, in_dims=(0, x_dim, x_dim), randomness="different")
        logits: Tensor = batched(own, x_num, x_cat)
        return logits
