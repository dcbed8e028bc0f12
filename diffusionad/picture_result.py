"""Everything about one inspected picture: verdict, regions, map, and the part as it should look."""

import base64
import html
import io
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from PIL import Image

from diffusionad.images.preparation import to_rgb_image
from diffusionad.inspection.panel import panel
from diffusionad.inspection.visualize import draw_contours, overlay
from diffusionad.postprocessing.known_marks import KnownMark
from diffusionad.postprocessing.postprocessor import Finding, Postprocessor
from diffusionad.postprocessing.regions import Region
from diffusionad.postprocessing.repair import repair
from diffusionad.postprocessing.verdict import Verdict

MAX_SHOWN = 8  # pictures in a notebook


@dataclass(frozen=True, repr=False, eq=False)
class PictureResult:
    """One picture's part of a `DiffusionADOutput`; a notebook shows it as a panel.

    Attributes:
        picture: as it was read, RGB [H,W].
        verdict: good, defective or unknown, with score, threshold, p-value and the calibration's promise.
        anomaly_map: float32 [H,W] in [0, 1].
        mask: bool [H,W], map above `pixel_threshold`, regions that are too small left out.
        reconstruction: RGB at the model's size, everything as the networks draw it.
        regions: connected defective regions, highest peak first, in pixels of the picture.
        known_marks: peaks that were faded, as good parts carry them.
        pixel_threshold: the threshold of the map, in [0, 1].
    """

    picture: Image.Image
    verdict: Verdict
    anomaly_map: np.ndarray
    mask: np.ndarray
    reconstruction: Image.Image
    regions: list[Region]
    known_marks: list[KnownMark]
    pixel_threshold: float

    @property
    def is_anomalous(self) -> bool:
        """Whether the part is defective; it means nothing where `is_known` is False."""
        return self.verdict.is_anomalous

    @property
    def score(self) -> float:
        """The score, in [0, 1]."""
        return self.verdict.score

    @property
    def threshold(self) -> float:
        """The threshold of the score, in [0, 1]."""
        return self.verdict.threshold

    @property
    def p_value(self) -> float | None:
        """Probability that a good part scores this high; None without a calibration that fits."""
        return self.verdict.p_value

    @property
    def is_known(self) -> bool | None:
        """False for a picture that is not one of the part; None for a model that has not learned to tell."""
        return self.verdict.is_known

    @property
    def familiarity_p_value(self) -> float | None:
        """Probability that a good picture looks this unusual as a whole; None likewise."""
        return self.verdict.familiarity_p_value

    @cached_property
    def repaired(self) -> Image.Image:
        """The part as it should look, RGB [H,W]: its picture, with the reconstruction where it is defective.

        The change fades out around the defect, and everything else keeps the grain of the picture. For a
        good part it is the picture itself, and for one that the model does not know.
        """
        if self.verdict.word != "defective":
            return self.picture
        return repair(self.picture, self.reconstruction, self.anomaly_map, self.mask, self.pixel_threshold)

    def overlay(self) -> Image.Image:
        """Draw heat map and contours over the picture, RGB [H,W]."""
        return draw_contours(overlay(self.picture, self.anomaly_map, threshold=self.threshold), self.mask)

    def panel(self, title: str = "") -> Image.Image:
        """Draw picture, repaired part, map and overlay side by side under the verdict.

        Args:
            title: small line above, such as the file's name.
        """
        return panel(self.picture, self.repaired, self.anomaly_map, self.mask, self.verdict, title)

    def save(self, path: str | os.PathLike) -> None:
        """Write the panel.

        Args:
            path: its ending says the format, such as `.png`.

        Raises:
            ValueError: Pillow knows no format with this ending.
        """
        self.panel().save(path)

    def to_dict(self) -> dict[str, Any]:
        """Return verdict, figures and regions as plain JSON types."""
        return {
            **self.verdict.to_dict(),
            "width": self.picture.width,
            "height": self.picture.height,
            "regions": [asdict(region) for region in self.regions],
            "known_marks": [asdict(mark) for mark in self.known_marks],
        }

    def __repr__(self) -> str:
        n = len(self.regions)
        size = f"{self.picture.width} x {self.picture.height} px"
        return f"PictureResult({self.verdict}; {n} region{'s' * (n != 1)}; {size})"

    def _repr_png_(self) -> bytes:
        """Return the panel for a notebook."""
        file = io.BytesIO()
        self.panel().save(file, format="PNG")
        return file.getvalue()

    def _repr_html_(self) -> str:
        """Return the panel for a notebook, with the verdict as its text."""
        data = base64.b64encode(self._repr_png_()).decode()
        return f'<img alt="{html.escape(str(self.verdict))}" src="data:image/png;base64,{data}">'


class ByPicture:
    """A call's fields, each a column over N pictures, read by name or picture by picture."""

    picture: list[Image.Image]
    verdict: list[Verdict]
    anomaly_map: list[np.ndarray]
    mask: list[np.ndarray]
    reconstruction: Any
    regions: list[list[Region]]
    known_marks: list[list[KnownMark]]
    pixel_threshold: float
    timings: dict[str, float]

    def __len__(self) -> int:
        return len(self.picture)

    def __iter__(self) -> Iterator[PictureResult]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, key: Any) -> Any:
        """Return a field by its name, one picture's result by its place, or a list of them by a slice."""
        if isinstance(key, str):
            return vars(self)[key]
        if isinstance(key, slice):
            return [self[i] for i in range(*key.indices(len(self)))]
        place = range(len(self))[key]  # from the end, too; its IndexError
        return PictureResult(
            picture=self.picture[place],
            verdict=self.verdict[place],
            anomaly_map=self.anomaly_map[place],
            mask=self.mask[place],
            reconstruction=as_image(self.reconstruction[place]),
            regions=self.regions[place],
            known_marks=self.known_marks[place],
            pixel_threshold=self.pixel_threshold,
        )

    @property
    def repaired(self) -> list[Image.Image]:
        """The N parts as they should look, at the size of their pictures; see `PictureResult.repaired`."""
        return [picture.repaired for picture in self]

    def to_dict(self) -> dict[str, Any]:
        """Return verdicts, figures and regions as plain JSON types."""
        return {"results": [picture.to_dict() for picture in self], "timings": self.timings}

    def __repr__(self) -> str:
        words = Counter(verdict.word for verdict in self.verdict)
        counts = ", ".join(f"{n} {word}" for word, n in words.items())
        n = len(self)
        return f"{type(self).__name__}({n} picture{'s' * (n != 1)}: {counts}; {self.timings['total']:.2f} s)"

    def _repr_html_(self) -> str:
        """Show the first pictures in a notebook."""
        shown = "".join(picture._repr_html_() for picture in self[:MAX_SHOWN])
        more = len(self) - MAX_SHOWN
        return shown + (f"<p>... and {more} more; result[i] shows one.</p>" if more > 0 else "")


def as_image(picture: Any) -> Image.Image:
    """Return a reconstruction of any output type, array [H,W,3] or tensor [3,H,W] in [0, 1], as RGB."""
    if isinstance(picture, Image.Image):
        return picture
    return to_rgb_image(picture if isinstance(picture, np.ndarray) else picture.permute(1, 2, 0).numpy())


def columns_of(
    pictures: list[Image.Image],
    findings: list[Finding],
    known_marks: list[list[KnownMark]],
    postprocess: Postprocessor,
) -> dict[str, Any]:
    """Return the fields of an output over N pictures, all but the reconstructions and the timings.

    Args:
        pictures: RGB, at their own sizes.
        findings: what their maps say.
        known_marks: the marks that were faded in each map.
        postprocess: what judged the maps.
    """
    score = np.array([found.score for found in findings], dtype=np.float64)  # [N]
    verdicts = [postprocess.verdict(f, len(m)) for f, m in zip(findings, known_marks, strict=True)]
    has_learned = all(verdict.is_known is not None for verdict in verdicts)
    return {
        "anomaly_map": [found.anomaly_map for found in findings],
        "score": score,
        "is_anomalous": np.array([found.is_anomalous for found in findings]),
        "p_value": postprocess.p_values(score),
        "mask": [found.mask for found in findings],
        "regions": [found.regions for found in findings],
        "known_marks": known_marks,
        "threshold": postprocess.threshold,
        "pixel_threshold": postprocess.pixel_threshold,
        "picture": pictures,
        "verdict": verdicts,
        "appearance": np.stack([found.appearance for found in findings]),
        "is_known": np.array([v.is_known for v in verdicts]) if has_learned else None,
        "familiarity_p_value": np.array([v.familiarity_p_value for v in verdicts]) if has_learned else None,
    }
