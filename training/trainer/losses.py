"""Losses of training; DiffusionAD: noise loss on normal samples + 5 focal + smooth L1."""

import torch
import torch.nn.functional as F
from torch import Tensor


def noise_loss(eps_pred: Tensor, eps: Tensor, is_normal: Tensor, divisor: Tensor | None = None) -> Tensor:
    """Average the squared error of the predicted noise over normal samples; 0 when the batch has none.

    Args:
        eps_pred: [2N,C,S,S], fine scale first.
        eps: [2N,C,S,S].
        is_normal: [N] bool.
        divisor: number of normal samples that the sum is divided by, where this is a part of a larger batch;
            default: those in `is_normal`.

    Returns:
        Scalar: the mean over the fine scale plus the mean over the coarse one.
    """
    error = (eps_pred - eps).square().flatten(1).mean(1).view(2, -1).sum(0)  # [2N] -> [N]
    weight = is_normal.to(error.dtype)
    divisor = weight.sum() if divisor is None else divisor
    return (error * weight).sum() / torch.where(divisor > 0, divisor, 1)


def focal_loss(logits: Tensor, mask: Tensor, gamma: float = 4.0, alpha: float = 0.5) -> Tensor:
    """Focal loss (Lin et al. 2017) with DiffusionAD's gamma and alpha: pixels already right count little.

    Args:
        logits: [N,1,S,S].
        mask: [N,1,S,S] in {0, 1}.
        gamma: exponent that discounts pixels that are nearly right.
        alpha: weight of anomalous pixels; normal ones weigh 1 - alpha.

    Returns:
        Scalar, mean over pixels.
    """
    cross_entropy = F.binary_cross_entropy_with_logits(logits, mask, reduction="none")
    p_wrong = 1 - torch.exp(-cross_entropy)
    alpha_t = alpha * mask + (1 - alpha) * (1 - mask)
    return (alpha_t * p_wrong.pow(gamma) * cross_entropy).mean()


def dice_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """Return 1 - soft Dice of the whole batch: samples without a defect count through their false alarms."""
    p = torch.sigmoid(logits)
    return 1 - (2 * (p * mask).sum() + 1) / (p.sum() + mask.sum() + 1)


def segmentation_loss(logits: Tensor, mask: Tensor, kind: str, positive_weight: float) -> Tensor:
    """Return the segmenter's loss: "paper" is 5 focal + smooth L1, "bce_dice" weighted BCE + 0.5 Dice."""
    if kind == "paper":
        return 5 * focal_loss(logits, mask) + F.smooth_l1_loss(torch.sigmoid(logits), mask)
    if kind == "bce_dice":
        weight = torch.tensor(positive_weight, device=logits.device)
        bce = F.binary_cross_entropy_with_logits(logits, mask, pos_weight=weight)
        return bce + 0.5 * dice_loss(logits, mask)
    raise ValueError(f'`segmentation_loss` is {kind!r}; use "paper" or "bce_dice".')
