"""Measure how far two detectors without a network get: the demo data must be harder than that.

    python -m training.demo.difficulty --data data/demo/washer

The detectors are the distance of each pixel to its mean over the training pictures, and the residual to a
blurred copy. Both get every advantage: the pooling and the blur that do best on the test split.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np
from PIL import Image
from skimage.filters import gaussian
from sklearn.metrics import roc_auc_score

from diffusionad.cli.options import CannotRun, data_option, run

_SIZE = 128
_TOP = 50


def per_pixel_gaussian_scores(train: np.ndarray, test: np.ndarray) -> dict[str, np.ndarray]:
    """Score test pictures by the pooled |z| under a Gaussian per pixel and channel.

    Args:
        train: good pictures, [N,H,W,C], any scale.
        test: pictures to score, [M,H,W,C], same scale.

    Returns:
        The scores [M] of each pooling.
    """
    mean, std = train.mean(axis=0), train.std(axis=0)
    # Half a grey level of 255: below it a pixel's spread is rounding, not knowledge.
    floor = 0.5 / 255 * max(1.0, float(train.max()))
    z = (np.abs(test - mean) / np.maximum(std, floor)).max(axis=-1)  # [M,H,W]
    return _pooled(z)


def blur_residual_scores(test: np.ndarray) -> dict[str, np.ndarray]:
    """Score pictures [M,H,W,C] by the pooled |x - blur(x)|: scores [M] of each Gaussian blur and pooling."""
    scores: dict[str, np.ndarray] = {}
    for sigma in (1.0, 2.0, 4.0, 8.0):
        residual = np.stack([np.abs(x - gaussian(x, sigma, channel_axis=-1)).max(axis=-1) for x in test])
        scores |= {f"sigma {sigma:g}, {pooling}": s for pooling, s in _pooled(residual).items()}
    return scores


def _pooled(maps: np.ndarray) -> dict[str, np.ndarray]:
    ordered = np.sort(maps.reshape(len(maps), -1), axis=1)[:, ::-1]
    return {
        "max": ordered[:, 0],
        f"top {_TOP}": ordered[:, :_TOP].mean(axis=1),
        "top 1 %": ordered[:, : max(1, ordered.shape[1] // 100)].mean(axis=1),
        "top 5 %": ordered[:, : max(1, ordered.shape[1] // 20)].mean(axis=1),
        "mean": ordered.mean(axis=1),
    }


def aurocs(folder: Path | str) -> dict[str, dict[str, float]]:
    """Compute the image AUROC of every variant of both baselines on the folder of a category.

    Raises:
        ValueError: the folder lacks training, good or defective pictures.
    """
    folder = Path(folder)
    train = _read(sorted((folder / "train" / "good").glob("*.png")))
    paths = sorted((folder / "test").glob("*/*.png"))
    test = _read(paths)
    label = np.array([path.parent.name != "good" for path in paths])
    if len(train) == 0 or label.all() or not label.any():
        raise ValueError(f"`folder` is {folder}, must hold train/good, test/good and test/DEFECT with *.png")
    scores = {
        "per-pixel Gaussian": per_pixel_gaussian_scores(train, test),
        "blur residual": blur_residual_scores(test),
    }
    return {
        name: {variant: float(roc_auc_score(label, s)) for variant, s in variants.items()}
        for name, variants in scores.items()
    }


def _read(paths: list[Path]) -> np.ndarray:
    """Read pictures as [N,128,128,3] in [0,1]."""
    pictures = [
        Image.open(path).convert("RGB").resize((_SIZE, _SIZE), Image.Resampling.BOX) for path in paths
    ]
    return np.array([np.asarray(picture, np.float32) / 255 for picture in pictures])


@click.command("difficulty")
@data_option("Folder of a category in MVTec-AD layout.")
def difficulty_command(data: str) -> None:
    """Print the image AUROC of two detectors without a network."""
    try:
        results = aurocs(data)
    except ValueError as error:
        raise CannotRun(str(error)) from error
    for name, variants in results.items():
        best = max(variants, key=lambda variant: variants[variant])
        click.echo(f"{name}: best image AUROC {variants[best]:.3f} ({best})")
        for variant, auroc in variants.items():
            click.echo(f"    {variant:22s} {auroc:.3f}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    return run(difficulty_command, arguments, "python -m training.demo.difficulty")


if __name__ == "__main__":
    sys.exit(main())
