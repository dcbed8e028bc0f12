"""The memory of marks that good parts carry: an optional component of the pipeline, not part of the paper.

`diffusionad.learn_marks` and `diffusionad learn-marks` teach it; the pipeline fades the marks that it knows
from the anomaly map.
"""

import numpy as np
import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor

from diffusionad.images.tiling import TiledPicture
from diffusionad.postprocessing.known_marks import (
    MARKS_MAX,
    PEAK_MIN,
    SIGNATURE,
    KnownMark,
    fade,
    find_peaks,
    remaining_fraction,
    signatures,
)

QUANTUM = 1 / 32767  # of a stored signature's values


class MarkMemory(ModelMixin, ConfigMixin):
    """Signatures of marks, and how similar a peak of a map must be to be one of them.

    Args:
        image_size: side S of the square that the networks see; cells of a signature follow from it.
        num_marks: number of marks; `learn` adds some.
        similarity_threshold: correlation in [0, 1] from which a peak is faded; 0.1 below it stays as it is.

    Raises:
        ValueError: for a size below 1, a negative number of marks or more than 20,000, or a threshold out of
            range.
    """

    @register_to_config
    def __init__(self, image_size: int = 256, num_marks: int = 0, similarity_threshold: float = 0.85):
        super().__init__()
        if not isinstance(image_size, int) or not 1 <= image_size <= 2**16:
            raise ValueError(
                f"`image_size` is {image_size!r}; give the pipeline's, an integer in 1..{2**16}."
            )
        if not isinstance(num_marks, int) or not 0 <= num_marks <= MARKS_MAX:
            raise ValueError(f"`num_marks` is {num_marks!r}; give an integer in 0..{MARKS_MAX}.")
        if not isinstance(similarity_threshold, int | float) or not 0 <= similarity_threshold <= 1:
            raise ValueError(f"`similarity_threshold` is {similarity_threshold!r}; give a number in 0..1.")
        # Integers: half precision of the networks must not round them.
        self.register_buffer("marks", torch.zeros(num_marks, SIGNATURE, dtype=torch.int16))

    def learn(self, looks: np.ndarray) -> int:
        """Add signatures [N,225] in [-1, 1]; return how many fit in, 20,000 in all being the limit."""
        looks = looks[: MARKS_MAX - len(self.marks)]
        added = (torch.from_numpy(looks) / QUANTUM).round().to(self.device, torch.int16)
        self.register_buffer("marks", torch.cat([self.marks, added]))
        self.register_to_config(num_marks=len(self.marks))
        return len(looks)

    def similarity(self, looks: Tensor) -> Tensor:
        """Correlate each of P peaks with the known mark that is most similar to it.

        Args:
            looks: [P,O,225] float32, each peak as seen from O places near it; the best counts.

        Returns:
            [P] in [-1, 1]; -1 where no mark is known.
        """
        if not len(self.marks):
            return looks.new_full((len(looks),), -1.0)
        known = self.marks.float() * QUANTUM  # [N,225]
        with torch.autocast(known.device.type, enabled=False):
            best = [(look.to(known) @ known.T).max() for look in looks]  # one by one: N may be large
        return torch.stack(best).clamp(-1, 1) if best else known.new_zeros(0)

    def look_for_marks(
        self, anomaly_map: np.ndarray, deviation: np.ndarray, minimum: float
    ) -> tuple[list[tuple[int, int]], np.ndarray]:
        """Find the peaks of a map, and compare each with the known marks.

        Args:
            anomaly_map: [H',W'] in [0, 1].
            deviation: [H',W'] in [-1, 1], picture minus reconstruction in grey.
            minimum: peaks are above this, in [0, 1).

        Returns:
            (row, column) of each peak, and its similarity [P] to a known mark, in [-1, 1].
        """
        size = self.config.image_size
        peaks = find_peaks(anomaly_map, size, minimum)
        if not (peaks and len(self.marks)):
            return peaks, np.full(len(peaks), -1.0)
        looks = signatures(deviation, peaks, size, shifted=True)  # [P,25,225]
        return peaks, self.similarity(torch.from_numpy(looks)).cpu().numpy()

    def fade(
        self, anomaly_map: np.ndarray, tiled: TiledPicture, size: tuple[int, int]
    ) -> tuple[np.ndarray, list[KnownMark]]:
        """Fade the peaks that look like known marks.

        Args:
            anomaly_map: float32 [H',W'] in [0, 1].
            tiled: the picture and its reconstruction, [H',W',3] in [0, 1].
            size: (H, W) of the inspected picture, in whose pixels marks are reported.

        Returns:
            The map, nowhere above the one given, and the marks that were faded.
        """
        peaks, similarities = self.look_for_marks(anomaly_map, deviation_of(tiled), PEAK_MIN)
        remaining = remaining_fraction(similarities, self.config.similarity_threshold)
        height, width = anomaly_map.shape
        known = [
            KnownMark(
                (column * size[1] // width, row * size[0] // height),
                float(anomaly_map[row, column]),
                float(left),
                float(similarity),
            )
            for (row, column), left, similarity in zip(peaks, remaining, similarities, strict=True)
            if left < 1
        ]
        return fade(anomaly_map, peaks, remaining, self.config.image_size), known


def deviation_of(tiled: TiledPicture) -> np.ndarray:
    """Return picture minus reconstruction in grey, [H',W'] in [-1, 1]."""
    return (tiled.picture - tiled.reconstruction).mean(axis=2)


# A file format: model_index.json names the memory as ["diffusionad", "MarkMemory"].
MarkMemory.__module__ = "diffusionad"
