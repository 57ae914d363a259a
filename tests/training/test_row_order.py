from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jamba_ray.training.row_order import Order, permutation


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 300), st.integers(1, 97), st.integers(0, 2**31 - 1))
def test_every_row_comes_exactly_once_an_epoch_also_when_batches_do_not_divide(n, batch, seed):
    order, epochs = Order([seed], n, "cpu"), 3
    edges = [*range(0, epochs * n, batch), epochs * n]
    stream = torch.cat([order.rows([a], b - a)[0] for a, b in itertools.pairwise(edges)])
    for epoch in stream.view(epochs, n):
        assert sorted(epoch.tolist()) == list(range(n))


def test_rows_depend_on_the_position_alone():
    straight = Order([3, 4], 50, "cpu").rows([0, 0], 150)
    late = Order([3, 4], 50, "cpu")
    assert torch.equal(late.rows([90, 90], 30), straight[:, 90:120])
    apart = late.rows([95, 10], 30)
    assert torch.equal(apart[0], straight[0, 95:125])
    assert torch.equal(apart[1], straight[1, 10:40])


def test_members_epochs_and_seeds_have_their_own_order():
    a, b = permutation([1, 2], 0, 500), permutation([1, 2], 1, 500)
    assert not torch.equal(a[0], a[1])
    assert not torch.equal(a[0], b[0])
    assert torch.equal(permutation([2], 0, 500)[0], a[1])


def test_keeping_members_keeps_their_order():
    order = Order([5, 6, 7], 40, "cpu")
    before = order.rows([0] * 3, 40)
    order.keep([0, 2])
    assert torch.equal(order.rows([0] * 2, 40), before[[0, 2]])
    assert torch.equal(order.rows([40] * 2, 40), Order([5, 7], 40, "cpu").rows([40] * 2, 40))


def test_those_that_join_begin_at_their_own_beginning():
    order = Order([5, 6], 40, "cpu")
    order.rows([0, 0], 60)
    order.append(Order([8], 40, "cpu"))
    rows = order.rows([60, 60, 0], 30)
    assert torch.equal(rows[:2], Order([5, 6], 40, "cpu").rows([60, 60], 30))
    assert torch.equal(rows[2:], Order([8], 40, "cpu").rows([0], 30))


def test_order_is_uniform():
    """Each row is in the first half of half the epochs: z-scores of 200 rows over 2,000 epochs.

    Fails by chance with probability below 1e-6 (a normal maximum above 6), and the seed is fixed.
    """
    halves = torch.stack([permutation([9], epoch, 200)[0, :100] for epoch in range(2000)])
    counts = np.bincount(halves.flatten().numpy(), minlength=200)
    z = (counts - 1000) / np.sqrt(2000 * 0.25)
    assert np.abs(z).max() < 6
    assert z.std() == pytest.approx(1.0, abs=0.25)


RARE = np.isin(np.arange(400), [3, 50, 77]).astype(np.float32)


@pytest.mark.parametrize("share", [0.5, 0.1, 0.37])
def test_batches_with_a_share_of_threats_have_it_and_show_all_rows_alike(share):
    order = Order([5], 400, "cpu", None, [share], RARE)
    stream = torch.cat([order.rows([a], 37)[0] for a in range(0, 37 * 60, 37)])
    threats = torch.from_numpy(RARE)[stream.long()]
    assert abs(threats.mean() - share) < 1e-3
    for batch in threats.split(100):
        assert abs(batch.sum() - share * len(batch)) <= 1
    counts = np.bincount(stream.numpy(), minlength=400)
    for label in (0, 1):  # whole epochs of each label: no row more than once oftener than another
        assert np.ptp(counts[label == RARE]) <= 1


def test_a_share_of_threats_depends_on_the_position_and_the_own_seed_alone():
    straight = Order([3, 4], 400, "cpu", None, [0.5, 0.2], RARE).rows([0, 0], 900)
    late = Order([3, 4, 9], 400, "cpu", None, [0.5, 0.2, None], RARE)
    apart = late.rows([700, 130, 30], 50)
    assert torch.equal(apart[0], straight[0, 700:750])
    assert torch.equal(apart[1], straight[1, 130:180])
    assert torch.equal(apart[2], Order([9], 400, "cpu").rows([30], 50)[0])
    late.keep([1, 2])
    late.append(Order([3], 400, "cpu", None, [0.5], RARE))
    rows = late.rows([200, 80, 0], 50)
    assert torch.equal(rows[0], straight[1, 200:250])
    assert torch.equal(rows[2], straight[0, :50])
