"""The parity gate: an export says what its pipeline says, or it is not kept."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import mannwhitneyu

from diffusionad.deploy.exported import ExportedPipeline
from diffusionad.pipeline import DiffusionADPipeline

# Largest difference of a score that a precision explains. A verdict may flip only where the score is that
# near the threshold.
MARGINS = {"fp32": 1e-3, "bf16": 0.05, "int8": 0.05}
MAP_DIFFERENCE = 1e-3  # in fp32
AUROC_LOSS = 0.005  # in int8, whose scores all move, so that only their order tells


@dataclass(frozen=True)
class Parity:
    """What differs between a pipeline and its export.

    Attributes:
        pictures: number of pictures that were compared.
        map_difference: largest absolute difference of a map pixel, in [0, 1], over a contrast above 1.
        score_difference: largest absolute difference of a score, likewise.
        flips: pictures whose verdict differs, by file, with the distance of their score to the threshold.
        auroc_loss: image AUROC that the export loses on copies of the pictures with a defect; None where
            there were none.
    """

    pictures: int
    map_difference: float
    score_difference: float
    flips: dict[str, float]
    auroc_loss: float | None = None

    def check(self, precision: str) -> None:
        """Raise a ValueError where more differs than the precision explains."""
        margin = MARGINS[precision]
        wrong = {name: gap for name, gap in self.flips.items() if gap > margin}
        if wrong:
            name, gap = next(iter(wrong.items()))
            raise ValueError(
                f"the export is not kept: {len(wrong)} of {self.pictures} verdicts differ, such as that of "
                f"`{name}`, {gap:.2g} from the threshold (margin {margin:g}); export it in fp32."
            )
        if precision == "int8":
            if self.auroc_loss is None or self.auroc_loss > AUROC_LOSS:
                raise ValueError(
                    f"the export is not kept: it loses {self.auroc_loss} of image AUROC on pictures with a "
                    f"defect, more than {AUROC_LOSS}; export it in bf16 or fp32."
                )
            return
        limits = {"score": margin} | ({"map": MAP_DIFFERENCE} if precision == "fp32" else {})
        found = {"score": self.score_difference, "map": self.map_difference}
        for what, limit in limits.items():
            if not found[what] <= limit:
                raise ValueError(
                    f"the export is not kept: a {what} differs by {found[what]:.2g}, more than the {limit:g} "
                    f"that {precision} explains."
                )

    def to_dict(self) -> dict[str, Any]:
        """Return JSON types."""
        return asdict(self)


def compare(
    pipeline: DiffusionADPipeline,
    exported: ExportedPipeline,
    pictures: Sequence[Path],
    damaged: Sequence[np.ndarray] = (),
) -> Parity:
    """Inspect pictures with a pipeline and its export.

    Args:
        pipeline: what was exported.
        exported: what came of it.
        pictures: good ones.
        damaged: copies of good pictures with a defect each, [H,W,3].

    Raises:
        ValueError: a picture that cannot be used.
        FileNotFoundError: no such picture.
    """
    maps, scores, flips, of_good = 0.0, 0.0, {}, []
    magnified = max(1.0, pipeline.config.contrast)  # differences are spread as the values are
    pipeline.set_progress_bar_config(disable=True)
    for picture in pictures:
        ours, theirs = pipeline(str(picture)), exported(str(picture))
        maps = max(maps, float(np.abs(ours.anomaly_map[0] - theirs.anomaly_map[0]).max()))
        scores = max(scores, float(abs(ours.score[0] - theirs.score[0])))
        of_good.append((ours.score[0], theirs.score[0]))
        if bool(ours.is_anomalous[0]) != bool(theirs.is_anomalous[0]):
            flips[picture.name] = float(abs(ours.score[0] - ours.threshold)) / magnified
    loss = None
    if damaged:
        of_damaged = [(pipeline(picture).score[0], exported(picture).score[0]) for picture in damaged]
        pairs = zip(zip(*of_good, strict=True), zip(*of_damaged, strict=True), strict=True)
        of_ours, of_theirs = (_auroc(good, defective) for good, defective in pairs)
        loss = float(of_ours - of_theirs)
    return Parity(len(pictures), maps / magnified, scores / magnified, flips, loss)


def _auroc(good: Sequence[float], defective: Sequence[float]) -> float:
    """Return the share of pairs in which the defective picture has the higher score; a tie counts half."""
    return mannwhitneyu(defective, good).statistic / (len(good) * len(defective))
