"""The pipeline's predictions for a test split, picture by picture, with the time they take."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from diffusionad import DiffusionADPipeline
from diffusionad.images.preparation import PreparedPicture
from diffusionad.postprocessing.postprocessor import Finding, Postprocessor

from ..data.catalog import Record

BATCH = 16


@dataclass
class Stopwatch:
    """Seconds that passed inside `running()`.

    Attributes:
        wall: on the clock.
        cpu: of all cores together; other work on the machine changes it little.
    """

    wall: float = 0.0
    cpu: float = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count the time inside the `with` block."""
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        self.wall += time.perf_counter() - wall
        self.cpu += time.process_time() - cpu


@dataclass(frozen=True)
class Prediction:
    """The pipeline's output for one picture.

    Attributes:
        score: image score; higher is more anomalous.
        anomaly_map: [H,W] in [0, 1], as large as the picture.
        is_anomalous: the verdict.
        p_value: p-value of the score; None without a calibration.
        reconstruction: [H',W',3] in [0, 1], at the model's resolution.
        has_known_marks: whether marks of good parts were taken off the map.
        from_scratch: what the networks alone say of the picture; None for a pipeline without a
            `feature_memory`, whose networks say all.
    """

    score: float
    anomaly_map: np.ndarray
    is_anomalous: bool
    p_value: float | None
    reconstruction: np.ndarray
    has_known_marks: bool
    from_scratch: Finding | None


class RecordingPipeline(DiffusionADPipeline):
    """The same pipeline; it keeps what its networks alone say, before pretrained features are joined.

    Attributes:
        from_scratch: of each picture since the list was emptied.
    """

    from_scratch: list[Finding]

    def _join_distances(self, picture: PreparedPicture) -> np.ndarray:
        postprocess = Postprocessor(self.settings(), None)
        own = postprocess.look_inside(picture.tiled.anomaly_map)
        self.from_scratch.append(postprocess(own, picture.size, picture.tiled))
        return super()._join_distances(picture)


def predictions(
    pipeline: DiffusionADPipeline, records: list[Record], description: str, stopwatch: Stopwatch
) -> Iterator[tuple[Record, Prediction]]:
    """Yield each record with its prediction, and show a progress bar.

    Args:
        pipeline: pipeline with its saved settings.
        records: pictures to inspect.
        description: label of the progress bar.
        stopwatch: counts the time inside the pipeline.
    """
    recording: RecordingPipeline | None = None
    if pipeline.feature_memory is not None:
        pipeline = recording = RecordingPipeline(**pipeline.components, **pipeline.settings())
        recording.set_progress_bar_config(disable=True)
    # A picture in tiles may be large, and fills the networks' calls by itself.
    step = BATCH if pipeline.config.resize_mode == "stretch" else 1
    with tqdm(total=len(records), desc=description, unit="picture", disable=None) as bar:
        for batch in (records[i : i + step] for i in range(0, len(records), step)):
            if recording is not None:
                recording.from_scratch = []
            with stopwatch.running():
                result = pipeline([record.image for record in batch], output_type="np", batch_size=BATCH)
            p_values = [None] * len(batch) if result.p_value is None else result.p_value.tolist()
            for i, record in enumerate(batch):
                yield (
                    record,
                    Prediction(
                        result.score[i],
                        np.asarray(result.anomaly_map[i]),
                        result.is_anomalous[i],
                        p_values[i],
                        np.asarray(result.reconstruction[i]),
                        bool(result.known_marks[i]),
                        None if recording is None else recording.from_scratch[i],
                    ),
                )
            bar.update(len(batch))
