"""The segmentation network: it compares a picture with its reconstruction and marks where they disagree.

DiffusionAD, segmentation sub-network: a U-Net of convolution-norm-ReLU pairs on the six channels [image,
reconstruction].
"""

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn


def _conv_norm_act(in_channels: int, out_channels: int, norm: str) -> list[nn.Module]:
    # Groups of 8 channels; fewer, larger groups where the width is no multiple of 8.
    groups = out_channels // 8 if out_channels % 8 == 0 else 1
    norm_layer = nn.BatchNorm2d(out_channels) if norm == "batch" else nn.GroupNorm(groups, out_channels)
    return [nn.Conv2d(in_channels, out_channels, 3, padding=1), norm_layer, nn.ReLU(inplace=True)]


class AnomalySegmenter(ModelMixin, ConfigMixin):
    """U-Net from a picture and its reconstruction to anomaly logits.

    The defaults are small. The authors' network has `block_out_channels=(64, 128, 256, 512, 512, 512)` and
    `norm="batch"`.

    Args:
        in_channels: channels of picture and reconstruction together.
        block_out_channels: width of each level; every level but the last is followed by 2 x 2 max pooling.
        norm: "group" (the same in training and inference, safe for small batches) or "batch" (the paper's).
        with_difference: also feed |picture - reconstruction|, which short trainings are slow to learn; the
            paper's network sees the two pictures only.
        stem_patch: side of the pixel blocks folded into channels at the input and unfolded at the output; 1
            is the paper's, 2 costs about a quarter.

    Raises:
        ValueError: for an unknown `norm`, fewer than two levels or a `stem_patch` below 1.
    """

    @register_to_config
    def __init__(
        self,
        in_channels: int = 6,
        block_out_channels: tuple[int, ...] = (32, 64, 96, 128),
        norm: str = "group",
        stem_patch: int = 1,
        with_difference: bool = False,
    ):
        super().__init__()
        if norm not in ("group", "batch"):
            raise ValueError(f'`norm` is {norm!r}; use "group" or "batch".')
        if len(block_out_channels) < 2:
            raise ValueError(f"`block_out_channels` is {block_out_channels}; give at least two levels.")
        if stem_patch < 1:
            raise ValueError(f"`stem_patch` is {stem_patch}; use 1, 2 or 4.")

        widths = list(block_out_channels)
        stem_channels = (in_channels + (in_channels // 2 if with_difference else 0)) * stem_patch**2
        self.encoder = nn.ModuleList(
            nn.Sequential(*_conv_norm_act(w_in, w, norm), *_conv_norm_act(w, w, norm))
            for w_in, w in zip([stem_channels, *widths[:-1]], widths, strict=True)
        )
        # The decoder's level i is as wide as the encoder's level i - 1, as in the authors' network.
        decoder_widths = [widths[max(i - 1, 0)] for i in range(len(widths) - 1)]
        self.up = nn.ModuleList()
        self.decoder = nn.ModuleList()
        below = widths[-1]
        for skip, w in zip(widths[-2::-1], decoder_widths[::-1], strict=True):
            self.up.append(nn.Sequential(*_conv_norm_act(below, w, norm)))
            self.decoder.append(
                nn.Sequential(*_conv_norm_act(w + skip, w, norm), *_conv_norm_act(w, w, norm))
            )
            below = w
        self.conv_out = nn.Conv2d(below, stem_patch**2, 3, padding=1)

    @property
    def size_multiple(self) -> int:
        """Height and width of the input must be multiples of this."""
        return self.config.stem_patch * 2 ** (len(self.config.block_out_channels) - 1)

    def forward(self, x_0: Tensor, x_0_hat: Tensor) -> Tensor:
        """Compare.

        Args:
            x_0: [N,C,S,S] in [-1, 1], the picture.
            x_0_hat: [N,C,S,S] in [-1, 1], its reconstruction.

        Returns:
            [N,1,S,S] logits; above 0 is more likely anomalous than not.
        """
        pictures = [x_0, x_0_hat, (x_0 - x_0_hat).abs()][: 3 if self.config.with_difference else 2]
        h = F.pixel_unshuffle(torch.cat(pictures, dim=1), self.config.stem_patch)  # [N,2Cpp,S/p,S/p] or 3Cpp
        skips = []
        for i, block in enumerate(self.encoder):
            h = block(F.max_pool2d(h, 2) if i else h)
            skips.append(h)
        skips.pop()
        for up, block in zip(self.up, self.decoder, strict=True):
            h = F.interpolate(h, scale_factor=2, mode="bilinear", align_corners=True)
            h = block(torch.cat([up(h), skips.pop()], dim=1))
        return F.pixel_shuffle(self.conv_out(h), self.config.stem_patch)  # [N,1,S,S]


# A file format: model_index.json names the segmenter as ["diffusionad", "AnomalySegmenter"].
AnomalySegmenter.__module__ = "diffusionad"
