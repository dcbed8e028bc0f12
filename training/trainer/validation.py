"""Validation chooses the checkpoint: held-out normal pictures, as they are and with synthetic defects.

The test split plays no part. The criterion is the mean of image AP and pixel AP; of weights that it can
hardly tell apart, the later ones are taken. The defects are of the families that are trained on, drawn from
another seed: training has seen neither their pictures nor their masks, places and textures. Families kept out
of training would judge more strictly, but training gains more from each than validation does. Pictures that
the pipeline sees in tiles are cropped, as in training.
"""

import dataclasses
import math
from pathlib import Path

import numpy as np
from torch import Tensor

from diffusionad import DiffusionADPipeline

from ..config.schema import TrainConfig
from ..evaluation.fidelity import fidelity, part_mask
from ..evaluation.localisation import LocalisationAccumulator
from ..evaluation.metrics import PixelMetrics, image_metrics
from ..synthesis.dataset import SyntheticAnomalies

CRITERION = "criterion: mean of image AP and pixel AP, held-out synthetic defects"
SYNTHETIC = ("image_auroc", "image_ap", "pixel_auroc", "pixel_ap", "pointing_accuracy")
FIDELITY = ("psnr_normal_db", "psnr_part_db", "gradient_correlation")
MAX_PICTURES = 24  # each counts twice; more would take minutes from a short training on a CPU
# Noise of the criterion on so few pictures. Within it the later weights are taken: the learning rate falls,
# and the last weights found real defects of the magnetic tiles as well or better.
NOISE = 0.02
SEED_OFFSET = 10_000  # other defects than training has pasted
CROP_TRIES = 20  # until a crop holds a part of the object, and so has a defect


class Validation:
    """A fixed set of samples; pictures are used several times with other defects when there are few.

    Args:
        paths: files of normal pictures that are not trained on.
        config: settings of the run.

    Raises:
        ValueError: no crop holds a part of the object.
    """

    def __init__(self, paths: list[Path], config: TrainConfig):
        hard = dataclasses.replace(config.synthesis, visible_sigma_start=0.0)  # the defects of the end
        config = dataclasses.replace(config, synthesis=hard)
        samples = SyntheticAnomalies(paths, config, seed=config.optim.seed + SEED_OFFSET, probability=1.0)
        count = min(MAX_PICTURES, max(len(paths), 8))
        rounds = math.ceil(count / len(paths))

        def draw(i: int) -> dict[str, Tensor]:
            for epoch in range(i // len(paths), CROP_TRIES * rounds, rounds):
                sample = samples[epoch, i % len(paths)]
                if sample["label"]:
                    break
            return sample

        drawn = [draw(i) for i in range(count)]
        if not any(d["label"] for d in drawn):
            raise ValueError(
                f"`data.shorter_side` is {config.data.shorter_side}, and no crop of {config.data.image_size} "
                "pixels of the validation pictures holds a part of an object; set it lower, so that pictures "
                "are scaled down, or set `data.foreground` to none."
            )
        normal = [samples.picture(0, i % len(paths)) for i in range(min(count, len(paths)))]
        defective = [(d["x_0"].permute(1, 2, 0).numpy() + 1) / 2 for d in drawn]
        self.parts = [part_mask(image) for image in normal]  # the same at every validation
        self.images = [*normal, *(np.clip(image, 0, 1) for image in defective)]
        self.masks = [
            *(np.zeros(i.shape[:2], bool) for i in normal),
            *(d["mask"][0].numpy() > 0 for d in drawn),
        ]
        self.labels = np.array([0] * len(normal) + [int(d["label"]) for d in drawn])

    def run(self, pipeline: DiffusionADPipeline) -> dict[str, float]:
        """Return metrics of synthetic defects by name, and "criterion", higher is better."""
        result = _on_squares(pipeline)(self.images, output_type="np")
        pixels, localisation = PixelMetrics(), LocalisationAccumulator()
        found_in = zip(result.anomaly_map, self.masks, self.labels, result.is_anomalous, strict=True)
        for anomaly_map, mask, label, is_anomalous in found_in:
            pixels.add(anomaly_map, mask)
            localisation.add(anomaly_map, mask, label, is_anomalous)
        found = {
            **image_metrics(self.labels, result.score),
            **pixels.compute(),
            **localisation.compute(),
        }
        return {
            "criterion": (found["image_ap"] + found["pixel_ap"]) / 2,
            **self._fidelity(np.asarray(result.reconstruction)),
            **{f"synthetic_{name}": found[name] for name in SYNTHETIC if name in found},
        }

    def _fidelity(self, reconstructions: np.ndarray) -> dict[str, float]:
        """Return how well the normal pictures are reconstructed, as a whole and on their parts."""
        normal = np.stack([i for i, label in zip(self.images, self.labels, strict=True) if label == 0])
        reconstructed = reconstructions[self.labels == 0]
        on_part = [fidelity(*each) for each in zip(reconstructed, normal, self.parts, strict=True)]
        errors = {
            "psnr_normal_db": np.square(reconstructed - normal).mean(),
            "psnr_part_db": np.mean([found.squared_error for found in on_part]),
        }
        return {
            **{name: float(-10 * np.log10(error)) for name, error in errors.items()},
            "gradient_correlation": float(np.mean([found.gradient_correlation for found in on_part])),
        }

    def panels(self, pipeline: DiffusionADPipeline, count: int = 4) -> np.ndarray:
        """Return defective pictures beside their reconstructions and maps, [count,S,3S,3] in [0, 1]."""
        images = self.images[-count:]
        result = _on_squares(pipeline)(images, output_type="np")
        maps = [np.repeat(anomaly_map[..., None], 3, axis=2) for anomaly_map in result.anomaly_map]
        columns = zip(images, result.reconstruction, maps, strict=True)
        return np.stack([np.concatenate(column, axis=1) for column in columns])


def is_published(criterion: float, best: float) -> bool:
    """Whether weights replace the published ones, given the `best` criterion so far."""
    return criterion > best - NOISE


def _on_squares(pipeline: DiffusionADPipeline) -> DiffusionADPipeline:
    """The same networks for pictures that are S x S already, and need no scaling to be cut into tiles.

    One noise draw is enough to choose by; more would take their time from a short training.
    """
    settings = {**pipeline.settings(), "resize_mode": "stretch", "shorter_side": None, "num_noise_samples": 1}
    squares = DiffusionADPipeline(**pipeline.components, **settings)
    squares.set_progress_bar_config(disable=True)
    squares.takes_blank = True
    return squares
