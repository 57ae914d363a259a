"""Trains folds of one trial as one stack: members of one structure, each on rows of its own.

The rows of all folds lie one after the other, and each member's order points into its own. Nothing
else differs from ``Engine``: a fold trains in the stack as it trains alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from jamba_ray.config.family import stacks
from jamba_ray.config.training_length import length_of
from jamba_ray.data.prepared import PreparedData, Rows
from jamba_ray.models import build
from jamba_ray.training.device_rows import place_of
from jamba_ray.training.engine import Engine
from jamba_ray.training.member import Finish, Member, Reporter, Urgent
from jamba_ray.training.member_tensors import MemberTensors
from jamba_ray.training.ranks import ALONE
from jamba_ray.training.row_order import Order
from jamba_ray.training.schedule import Timetable
from jamba_ray.training.validation import Validation


class FoldOrder(Order):
    """Returns row indices of K members, each of which has rows of its own."""

    def __init__(self, orders: Sequence[Order], sizes: Sequence[int]) -> None:
        """Takes ``orders``, one of each member, whose rows lie one after the other; ``sizes`` says
        how many each member has."""
        starts = np.cumsum([0, *sizes[:-1]]).tolist()
        self._own = list(zip(orders, starts, strict=True))

    def rows(self, first: Sequence[int], n: int) -> Tensor:
        """Returns ``n`` rows of each member's stream, from ``first`` [K] on: int32 [K, n]."""
        own = zip(self._own, first, strict=True)
        return torch.cat([order.rows([row], n) + start for (order, start), row in own])

    def keep(self, members: Sequence[int]) -> None:
        """Drops all members but these."""
        self._own = [self._own[k] for k in members]

    def append(self, other: Order) -> None:
        """Refuses: folds begin together.

        Raises:
            ValueError: Always.
        """
        raise ValueError("folds begin together: none can join")


class FoldEngine(Engine):
    """Trains members that are numbered by their folds, each on ``folds[number]``."""

    def __init__(
        self,
        members: Sequence[Member],
        folds: Mapping[int, PreparedData],
        report: Reporter,
        device: str,
        finish: Finish | None = None,
        urgent: Urgent | None = None,
    ) -> None:
        self._folds = folds
        rows = [folds[member.trial] for member in members]
        joined = dataclasses.replace(rows[0], train=_joined([one.train for one in rows]), tests={})
        self._judges: dict[int, Validation] = {}
        super().__init__(
            members,
            joined,
            report,
            device,
            None,
            finish,
            None,
            {},
            ALONE,
            urgent,
            None,
            len(members),
        )
        place = place_of(joined, device)
        every = self._timetable.report_rows
        self._judges = {
            member.trial: Validation(
                folds[member.trial], member.config, every, device, place, ALONE
            )
            for member in members
        }

    def _data_of(self, member: Member) -> PreparedData:
        return self._folds[member.trial]

    def _judge_of(self, member: Member) -> Validation:
        return self._judges[member.trial]

    def _logits(self, due: Sequence[int]) -> Any:
        """Computes the logits of each fold on its own held-out sample: a list of [N]."""
        found: list[npt.NDArray[np.float64]] = []
        for k in due:
            (own,) = self._judge_of(self._live[k]).logits(self._stack.forward_of([k]), 1)
            found.append(own)
        return found

    def _tensors(self, members: Sequence[Member]) -> MemberTensors:
        """Makes the tensors of each fold as if it were alone, and lays them side by side."""
        rows = [self._folds[member.trial] for member in members]
        where = self._train.index_device
        first, *others = [
            MemberTensors.of([member], one, self._format, self._device, ALONE, where)
            for member, one in zip(members, rows, strict=True)
        ]
        order = FoldOrder([own.order for own in (first, *others)], [len(one.train) for one in rows])
        for other in others:
            first.stack.append(other.stack)
            first.optimizer.append(other.optimizer)
            first.criterion.append(other.criterion)
            if first.scaler is not None and other.scaler is not None:
                first.scaler.append(other.scaler)
        return dataclasses.replace(first, order=order)


def stackable(members: Sequence[Member], folds: Mapping[int, PreparedData]) -> list[list[Member]]:
    """Divides the folds of a trial into those that train as one stack.

    They have tensors of one shape (as many categories) and batches that coincide; others, and
    families that do not stack, train alone.
    """
    found: dict[Any, list[Member]] = {}
    for member in members:
        data, config = folds[member.trial], member.config
        key: Any = member.trial
        if stacks(config.model.name):
            table = Timetable.of(config.training, len(data.train))
            length = length_of(config.training, len(data.train))
            module = build(config.model, data.schema, seed=0)
            tensors = [*module.named_parameters(), *module.named_buffers()]
            key = (
                tuple((name, tuple(tensor.shape)) for name, tensor in tensors),
                (table.n_batches, table.batch_rows, table.report_rows, table.patience),
                length.schedule,
                len(data.schema.numeric),
            )
        found.setdefault(key, []).append(member)
    return list(found.values())


def _joined(parts: Sequence[Rows]) -> Rows:
    return Rows(
        x_num=np.concatenate([part.x_num for part in parts]),
        x_cat=np.concatenate([part.x_cat for part in parts]),
        y=np.concatenate([part.y for part in parts]),
    )
