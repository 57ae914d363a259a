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
