from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from jamba_ray.config.training import TrainingSection
from jamba_ray.training.loss import Criterion, threat_weight

SECTIONS = [
    TrainingSection(),
    TrainingSection(threat_weight=4.0),
    TrainingSection(threat_weight="balanced", label_smoothing=0.2),
]
RARE = [
    TrainingSection(),
    TrainingSection(focal_gamma=2.0),
    TrainingSection(logit_adjustment=1.0),
    TrainingSection(focal_gamma=0.5, logit_adjustment=0.7, threat_weight=3.0),
]
SHARE = 0.2
LOGITS = torch.randn(3, 50, generator=torch.Generator().manual_seed(0))
Y = (torch.rand(3, 50, generator=torch.Generator().manual_seed(1)) < SHARE).float()


def test_balanced_gives_both_classes_the_same_total_weight():
    assert threat_weight("balanced", 0.2) == pytest.approx(4.0)
    assert threat_weight(2.5, 0.2) == 2.5


def test_losses_are_torchs_own_divided_by_the_mean_weight():
    losses = Criterion(SECTIONS, SHARE, "cpu")(LOGITS, Y)
    for k, (weight, smoothing) in enumerate([(1.0, 0.0), (4.0, 0.0), (4.0, 0.2)]):
        target = Y[k] * (1 - smoothing) + smoothing / 2
        each = F.binary_cross_entropy_with_logits(LOGITS[k], target, reduction="none")
        weights = torch.where(Y[k] == 1.0, weight, 1.0) / (1 - SHARE + SHARE * weight)
        torch.testing.assert_close(losses[k], (each * weights).mean())


def test_gradients_of_members_do_not_mix():
    logits = LOGITS.clone().requires_grad_()
    Criterion(SECTIONS, SHARE, "cpu")(logits, Y)[1].backward()
    assert logits.grad is not None
    assert logits.grad[[0, 2]].abs().max() == 0.0


def test_a_threat_counts_more_with_a_higher_weight():
    missed = torch.full((2, 10), -3.0)
    light, heavy = Criterion(SECTIONS[:2], SHARE, "cpu")(missed, torch.ones(2, 10))
    assert heavy > 2 * light


def test_a_member_alone_has_the_loss_it_has_in_company():
    """Its neighbours' weights make the code take the weighted path; the value may not change."""
    together = Criterion(SECTIONS, SHARE, "cpu")
    alone = Criterion(SECTIONS[:1], SHARE, "cpu")(LOGITS[:1], Y[:1])
    assert torch.equal(together(LOGITS, Y)[:1], alone)
    together.keep([2])
    torch.testing.assert_close(
        together(LOGITS[2:], Y[2:]), Criterion(SECTIONS[2:], SHARE, "cpu")(LOGITS[2:], Y[2:])
    )


def test_half_precision_logits_are_judged_in_float32():
    losses = Criterion(SECTIONS, SHARE, "cpu")(LOGITS.bfloat16(), Y)
    assert losses.dtype == torch.float32


def test_focal_loss_and_logit_adjustment_are_those_of_the_papers():
    logits, y = LOGITS[[0, 0, 0, 0]], Y[[0, 0, 0, 0]]
    losses = Criterion(RARE, SHARE, "cpu")(logits, y)
    prior = torch.tensor(SHARE / (1 - SHARE)).log()
    for k, (gamma, tau, weight) in enumerate([(0, 0, 1), (2, 0, 1), (0, 1, 1), (0.5, 0.7, 3)]):
        p = torch.sigmoid(logits[k] + tau * prior)
        right = torch.where(y[k] == 1.0, p, 1 - p)
        weights = torch.where(y[k] == 1.0, weight, 1.0) / (1 - SHARE + SHARE * weight)
        torch.testing.assert_close(
            losses[k], (-weights * (1 - right) ** gamma * right.log()).mean()
        )


def test_a_plain_member_beside_focal_and_adjusted_ones_has_its_own_loss_and_gradient_bit_for_bit():
    both, one = (LOGITS[[0] * n].clone().requires_grad_() for n in (4, 1))
    together = Criterion(RARE, SHARE, "cpu")(both, Y[[0] * 4])
    alone = Criterion(RARE[:1], SHARE, "cpu")(one, Y[[0]])
    assert torch.equal(together[:1], alone)
    together.sum().backward()
    alone.sum().backward()
    assert torch.equal(both.grad[:1], one.grad)


def test_certain_scores_have_finite_gradients_whatever_the_focus():
    logits = torch.tensor([[-200.0, -40.0, 0.0, 40.0, 200.0]] * 4).requires_grad_()
    Criterion(RARE, SHARE, "cpu")(
        logits, torch.tensor([[1.0, 0.0, 1.0, 1.0, 0.0]] * 4)
    ).sum().backward()
    assert torch.isfinite(logits.grad).all()


def test_members_that_leave_and_join_take_their_settings_with_them():
    criterion = Criterion(RARE[:2], SHARE, "cpu")
    criterion.append(Criterion(RARE[2:], SHARE, "cpu"))
    logits, y = LOGITS[[0] * 4], Y[[0] * 4]
    whole = Criterion(RARE, SHARE, "cpu")(logits, y)
    assert torch.equal(criterion(logits, y), whole)
    criterion.keep([1, 3])
    assert torch.equal(criterion(logits[:2], y[:2]), whole[[1, 3]])


@pytest.mark.parametrize("batch_rows", [None, 200])
def test_heads_have_a_loss_each_and_their_mean_is_the_members(batch_rows):
    """Also for a part of a batch, with weights, smoothing, focus and adjustment."""
    sections = [*SECTIONS, RARE[3]]
    y = torch.cat([Y, Y[:1]])
    heads = torch.randn(4, 50, 3, generator=torch.Generator().manual_seed(2))
    criterion = Criterion(sections, SHARE, "cpu")
    one_by_one = torch.stack([criterion(heads[..., h], y, batch_rows) for h in range(3)])
    together = criterion(heads, y, batch_rows)
    torch.testing.assert_close(together, one_by_one.mean(dim=0))
    of_mean = criterion(heads.mean(dim=-1), y, batch_rows)
    assert float((together - of_mean).abs().min()) > 0.01 * float(together.min())
