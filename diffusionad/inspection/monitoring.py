"""Scores under observation while pictures are inspected: has the line drifted away from its calibration?"""

import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from diffusionad.inspection.results import Result
from diffusionad.postprocessing.calibration import Calibration
from diffusionad.postprocessing.drift import DriftMonitor

if TYPE_CHECKING:
    from diffusionad.pipeline import DiffusionADPipeline


def monitor_of(pipeline: "DiffusionADPipeline") -> DriftMonitor | None:
    """Return a monitor of the scores; None without a calibration to compare with."""
    calibration = pipeline.config.calibration
    return None if calibration is None else DriftMonitor(Calibration.from_dict(calibration))


def monitored(
    results: Iterable[Result], monitor: DriftMonitor | None, every: int | None = None
) -> Iterator[Result]:
    """Yield results as they come; after `every` of them, write the monitor's warning to stderr."""
    for result in results:
        if monitor is not None and result.verdict is not None:
            monitor.add(result.verdict.score)
            warning = monitor.warning() if every and monitor.count % every == 0 else None
            if warning:
                print(warning, file=sys.stderr, flush=True)
        yield result
