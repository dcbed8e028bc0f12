"""Runs that take seconds: small pictures, small networks, and the command that trains them."""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

SMALL = [
    "data.image_size=32",
    "data.resize_mode=stretch",
    "data.shorter_side=0",
    "data.num_workers=0",
    "model.patch_size=2",
    "model.unet_channels=[16, 32]",
    "model.unet_attention_sizes=[]",
    "model.segmenter_channels=[8, 16]",
    "model.segmenter_stem_patch=1",
    "model.pretrained_features=none",
    "diffusion.num_noise_samples=1",
    "optim.batch_size=4",
    "optim.max_minutes=0",
    "optim.max_steps=8",
    "optim.unet_share=0.0",
    "optim.detach_reconstruction=true",
    "optim.repair=false",
    "optim.precision=no",
    "log.checkpoint_steps=4",
    "log.validations=2",
    "log.samples=2",
    "log.certificate_minutes=0",
]


def write_squares(root: Path, seed: int = 0) -> Path:
    """MVTec-AD layout: 16 noisy grey squares, and tests with a white corner."""
    rng = np.random.default_rng(seed)

    def write(path: Path, corner: bool = False) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(90, 130, (40, 48, 3), dtype=np.uint8)
        if corner:
            pixels[:12, :12] = 255
        Image.fromarray(pixels).save(path)

    for i in range(16):
        write(root / "train/good" / f"{i:03d}.png")
    for i in range(4):
        write(root / "test/good" / f"{i:03d}.png")
        write(root / "test/corner" / f"{i:03d}.png", corner=True)
        mask = np.zeros((40, 48), np.uint8)
        mask[:12, :12] = 255
        (root / "ground_truth/corner").mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask).save(root / "ground_truth/corner" / f"{i:03d}_mask.png")
    return root


def command(data: Path, output: Path, *more: str, settings: list[str] = SMALL) -> list[str]:
    """What a user types."""
    start = [sys.executable, "-m", "training.train"]
    return [*start, *arguments(data, output, *more, settings=settings)]


def arguments(data: Path, output: Path, *more: str, settings: list[str] = SMALL) -> list[str]:
    """What comes after the name of the program."""
    sets = [part for setting in settings for part in ("--set", setting)]
    return ["--data", str(data), "--output", str(output), "--preset", "tiny", *sets, *more]
