"""Teach a pipeline the marks that good parts carry, such as stamps of a fixture."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from diffusionad.images.image_processor import ImageInput, ImageProcessor, as_list
from diffusionad.images.tiling import TiledPicture
from diffusionad.models.mark_memory import MarkMemory, deviation_of
from diffusionad.postprocessing.known_marks import LEARNT_MIN, SAME_VIEW_MIN, signatures

if TYPE_CHECKING:
    from diffusionad.pipeline import DiffusionADPipeline


def learn_marks(
    pipeline: "DiffusionADPipeline",
    image: ImageInput | Sequence[ImageInput],
    num_noise_samples: int | None = None,
    report: Callable[[int], None] | None = None,
) -> int:
    """Teach a pipeline the marks that good parts carry; later maps fade where they come back.

    Every peak of the maps of these pictures is taken for harmless: show good parts only. The stored
    calibration no longer applies afterwards; calibrate again, with other pictures than these.

    Args:
        pipeline: gets a `mark_memory` component, or more marks in the one that it has.
        image: one or many pictures, as the pipeline's call takes them.
        num_noise_samples: noise draws to average, as in the call; fewer take less time.
        report: called after each picture with the number of marks added so far.

    Returns:
        Number of marks added; a mark that is known already is not added again, and 20,000 are kept at most.

    Raises:
        ValueError: a picture that cannot be used.
        FileNotFoundError: no such picture.
    """
    sources = as_list(image)
    pipeline.check_inputs(sources, pipeline.settings(), None, 1, "np")
    if pipeline.config.contrast != 1:  # marks are looked for in the networks' own maps
        pipeline.configure(contrast=1.0, calibration=None)
    processor = ImageProcessor.from_config(pipeline.config)
    known: MarkMemory | None = pipeline.mark_memory
    memory = known or MarkMemory(pipeline.config.image_size).to(pipeline.device)
    added = 0
    pipeline.register_modules(mark_memory=None)  # maps without fading
    try:
        for i, source in enumerate(sources):
            tiled = processor.prepare(source, i).tiled
            # At the model's size already, so that the map is the one that is looked at for marks.
            output = pipeline(tiled.picture, num_noise_samples=num_noise_samples, output_type="np")
            tiled.reconstruction = np.asarray(output.reconstruction[0])
            added += memory.learn(_unknown_looks(memory, tiled, output.anomaly_map[0]))
            if report is not None:
                report(added)
    finally:
        pipeline.register_modules(mark_memory=memory if len(memory.marks) else None)
        if added:
            pipeline.configure(calibration=None)
    return added


def _unknown_looks(memory: MarkMemory, tiled: TiledPicture, anomaly_map: np.ndarray) -> np.ndarray:
    """Return signatures [N,225] of peaks that no known mark matches.

    Further views of a known mark are kept; they match where the first does not.
    """
    deviation = deviation_of(tiled)
    peaks, similarities = memory.look_for_marks(anomaly_map, deviation, LEARNT_MIN)
    new = [peak for peak, known in zip(peaks, similarities >= SAME_VIEW_MIN, strict=True) if not known]
    looks = signatures(deviation, new, memory.config.image_size)[:, 0]
    # A signature is shorter than 1 where the contrast is below one of 255 levels.
    return looks[np.linalg.norm(looks, axis=1) > SAME_VIEW_MIN]
