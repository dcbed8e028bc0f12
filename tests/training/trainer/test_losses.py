"""The training losses against hand-made cases and their definitions."""

import pytest
import torch
from torch.nn import functional as F

from training.trainer.losses import dice_loss, focal_loss, noise_loss, segmentation_loss


def test_noise_loss_sums_the_means_of_both_scales_over_normal_samples_only() -> None:
    eps = torch.zeros(4, 1, 2, 2)
    eps_pred = torch.stack(
        [torch.full((1, 2, 2), v) for v in (1.0, 2.0, 3.0, 4.0)]
    )  # fine: 1, 2; coarse: 3, 4
    both = noise_loss(eps_pred, eps, torch.tensor([True, True]))
    first = noise_loss(eps_pred, eps, torch.tensor([True, False]))
    assert both.item() == pytest.approx((1 + 4) / 2 + (9 + 16) / 2)
    assert first.item() == pytest.approx(1 + 9)


def test_noise_losses_of_parts_divided_by_the_whole_add_up() -> None:
    eps_pred, eps = torch.randn(8, 3, 4, 4), torch.randn(8, 3, 4, 4)  # four samples, the fine scale first
    is_normal = torch.tensor([True, False, True, True])
    whole = noise_loss(eps_pred, eps, is_normal)
    parts = [noise_loss(eps_pred[i::4], eps[i::4], is_normal[i : i + 1], torch.tensor(3.0)) for i in range(4)]
    assert torch.allclose(sum(parts), whole)


def test_noise_loss_of_a_batch_without_normal_samples_is_zero_and_has_gradients() -> None:
    eps_pred = torch.randn(2, 3, 4, 4, requires_grad=True)
    loss = noise_loss(eps_pred, torch.randn(2, 3, 4, 4), torch.tensor([False]))
    loss.backward()
    assert loss.item() == 0
    assert torch.count_nonzero(eps_pred.grad) == 0


def test_focal_loss_follows_its_formula() -> None:
    logits, mask = torch.tensor([[[[2.0, -1.0]]]]), torch.tensor([[[[1.0, 0.0]]]])
    p = torch.sigmoid(logits)
    by_hand = (
        -0.5 * ((1 - p[..., 0]) ** 4 * p[..., 0].log() + p[..., 1] ** 4 * (1 - p[..., 1]).log()).mean() / 2
    )
    assert focal_loss(logits, mask).item() == pytest.approx(by_hand.item(), rel=1e-5)


def test_focal_loss_without_focus_is_half_the_cross_entropy() -> None:
    logits, mask = torch.randn(2, 1, 8, 8), (torch.rand(2, 1, 8, 8) > 0.5).float()
    expected = 0.5 * F.binary_cross_entropy_with_logits(logits, mask)
    assert focal_loss(logits, mask, gamma=0.0).item() == pytest.approx(expected.item(), rel=1e-5)


def test_losses_are_finite_for_extreme_logits() -> None:
    logits = torch.tensor([[[[1e4, -1e4]]]], requires_grad=True)
    mask = torch.tensor([[[[0.0, 1.0]]]])
    for kind in ("paper", "bce_dice"):
        loss = segmentation_loss(logits, mask, kind, positive_weight=3.0)
        assert torch.isfinite(loss)
        assert torch.isfinite(torch.autograd.grad(loss, logits)[0]).all()


def test_dice_is_zero_for_a_perfect_map_and_near_one_for_a_wrong_one() -> None:
    mask = (torch.rand(2, 1, 32, 32) > 0.5).float()
    assert dice_loss((mask * 2 - 1) * 50, mask).item() == pytest.approx(0, abs=1e-3)
    assert dice_loss((1 - mask * 2) * 50, mask).item() > 0.99


def test_an_unknown_segmentation_loss_is_refused() -> None:
    with pytest.raises(ValueError, match="bce_dice"):
        segmentation_loss(torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 2), "l2", 1.0)
