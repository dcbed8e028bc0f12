"""The noise predictor of the authors' released code, built of diffusers' blocks, for their checkpoints."""

import functools
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.attention_processor import Attention
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.unets.unet_2d import UNet2DOutput
from torch import Tensor, nn

_GROUPS, _EPS = 32, 1e-5  # of every normalisation


class OfficialUNet(ModelMixin, ConfigMixin):
    """U-Net of the guided-diffusion family: pictures are halved and doubled inside residual blocks.

    `UNet2DModel` does not express it: there the number of attention heads follows from the width, here it is
    the same at every width. The defaults are those of the released 256-pixel models.

    Args:
        in_channels: channels of the picture, and of the noise that is predicted.
        block_out_channels: width of each level, the finest first; multiples of 32.
        layers_per_block: residual blocks a level on the way down; one more on the way up.
        attention_levels: levels with attention, 0 is the finest; the middle always has it.
        num_attention_heads: heads at every width.
        attention_head_dim: width of a head, from which the number of heads follows instead; None leaves the
            number as it is.

    Raises:
        ValueError: when the widths cannot be divided into groups or heads.
    """

    @register_to_config
    def __init__(
        self,
        in_channels: int = 3,
        block_out_channels: tuple[int, ...] = (128, 128, 256, 256, 512, 512),
        layers_per_block: int = 2,
        attention_levels: tuple[int, ...] = (3, 4, 5),
        num_attention_heads: int = 4,
        attention_head_dim: int | None = None,
    ):
        super().__init__()
        widths = list(block_out_channels)
        if any(width % _GROUPS for width in widths):
            raise ValueError(f"`block_out_channels` is {tuple(widths)}; use multiples of {_GROUPS}.")
        for width in {widths[-1], *(widths[level] for level in attention_levels)}:
            if width % (attention_head_dim or num_attention_heads):
                name = "attention_head_dim" if attention_head_dim else "num_attention_heads"
                raise ValueError(f"`{name}` is {self.config[name]}, which does not divide the width {width}.")
        time_channels = 4 * widths[0]
        residual = functools.partial(_residual, time_channels=time_channels)

        def attention(width: int) -> Attention:
            return _attention(width, self.heads_at(width))

        def stage(w_in: int, level: int) -> nn.ModuleList:
            has_attention = level in attention_levels
            layers = [residual(w_in, widths[level]), *([attention(widths[level])] if has_attention else [])]
            return nn.ModuleList(layers)

        self.time_proj = Timesteps(widths[0], flip_sin_to_cos=False, downscale_freq_shift=0)
        self.time_embedding = TimestepEmbedding(widths[0], time_channels)
        self.conv_in = nn.Conv2d(in_channels, widths[0], 3, padding=1)
        width, skips = widths[0], [widths[0]]
        self.down = nn.ModuleList()
        for level, level_width in enumerate(widths):
            for _ in range(layers_per_block):
                self.down.append(stage(width, level))
                width = level_width
                skips.append(width)
            if level < len(widths) - 1:
                self.down.append(nn.ModuleList([residual(width, width, down=True)]))
                skips.append(width)
        self.middle = nn.ModuleList([residual(width, width), attention(width), residual(width, width)])
        self.up = nn.ModuleList()
        for level in reversed(range(len(widths))):
            for i in range(layers_per_block + 1):
                layers = stage(width + skips.pop(), level)
                width = widths[level]
                if level and i == layers_per_block:
                    layers.append(residual(width, width, up=True))
                self.up.append(layers)
        self.norm_out = nn.GroupNorm(_GROUPS, width, eps=_EPS)
        self.conv_out = nn.Conv2d(width, in_channels, 3, padding=1)

    def heads_at(self, width: int) -> int:
        """Number of attention heads at a width."""
        head_dim = self.config.attention_head_dim
        return width // head_dim if head_dim else self.config.num_attention_heads

    def forward(self, sample: Tensor, timestep: Tensor | int) -> UNet2DOutput:
        """Predict the noise.

        Args:
            sample: [B,C,S,S], noised pictures; S must be a multiple of 2 ** (levels - 1).
            timestep: [B], or one for all.

        Returns:
            The noise as `.sample`, [B,C,S,S].
        """
        t = torch.as_tensor(timestep, device=sample.device).reshape(-1).expand(len(sample))
        time = self.time_embedding(self.time_proj(t).to(sample.dtype))
        h = self.conv_in(sample)
        skips = [h]
        for stage in self.down:
            h = _run(stage.children(), h, time)
            skips.append(h)
        h = _run(self.middle, h, time)
        for stage in self.up:
            h = _run(stage.children(), torch.cat([h, skips.pop()], dim=1), time)
        return UNet2DOutput(sample=self.conv_out(F.silu(self.norm_out(h))))


def _residual(w_in: int, w_out: int, time_channels: int, **direction: bool) -> ResnetBlock2D:
    return ResnetBlock2D(
        in_channels=w_in,
        out_channels=w_out,
        temb_channels=time_channels,
        groups=_GROUPS,
        eps=_EPS,
        **direction,
    )


def _attention(width: int, heads: int) -> Attention:
    return Attention(
        width,
        heads=heads,
        dim_head=width // heads,
        bias=True,
        norm_num_groups=_GROUPS,
        eps=_EPS,
        residual_connection=True,
    )


def _run(layers: Iterable[nn.Module], h: Tensor, time: Tensor) -> Tensor:
    for layer in layers:
        h = layer(h, time) if isinstance(layer, ResnetBlock2D) else layer(h)
    return h


# A file format: model_index.json names it as ["diffusionad", "OfficialUNet"].
OfficialUNet.__module__ = "diffusionad"
