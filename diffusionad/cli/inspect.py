"""`diffusionad inspect`: pictures to verdicts and drawings.

torch is imported after the arguments have been checked: mistakes are answered at once.
"""

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from diffusionad.cli.drawing import check_drawing, drawing_options, make_output
from diffusionad.cli.model import (
    gathering_settings,
    load_pipeline,
    model_source,
    running_options,
    score_settings,
    verdict_settings,
)
from diffusionad.cli.options import (
    EXIT_INTERRUPTED,
    CannotRun,
    data_option,
    model_option,
    one_line,
    output_option,
)

if TYPE_CHECKING:
    from diffusionad.inspection.inspector import Inspector
    from diffusionad.pipeline import DiffusionADPipeline

EXIT_ANOMALY = 1

EPILOG = """\
\b
Examples:
  diffusionad inspect photos/ --model models/washer --output report
  diffusionad inspect archive/ --model models/washer --output results --engine ray --workers 8
  diffusionad inspect 'line-1/*.png' part.jpg --model org/name --output report --fail-on-anomaly

\b
Written to the output folder:
  results.csv, results.json   verdict, score, p-value and regions of each picture; paths are
                              relative to the output folder
  overlays/                   heat map and contours over each picture
  part-*.parquet, head.json   with --engine ray, in place of all others: a row per picture
  panels/                     with --panels: picture, repaired part, heat map and overlay side by side

\b
Exit status:
  0  done    1  something is defective or unknown, with --fail-on-anomaly    2  it cannot be done, see stderr
  130  interrupted; what was inspected until then is written
"""


@dataclass(frozen=True)
class Inspection:
    """What one call of `diffusionad inspect` does.

    Attributes:
        data: files, folders and globs.
        model: as the user names it.
        output: folder for results and drawings.
        batch_size: pictures per network call on a GPU.
        panels: draw side-by-side pictures.
        overlays: draw overlays.
        fail_on_anomaly: exit with 1 when something is defective, or not a part that the model knows.
        quiet: print errors only.
    """

    data: tuple[str, ...]
    model: str
    output: Path
    batch_size: int = 8
    panels: bool = False
    overlays: bool = True
    fail_on_anomaly: bool = False
    quiet: bool = False


@click.command("inspect", epilog=EPILOG, context_settings={"max_content_width": 110})
@click.argument("paths", nargs=-1, metavar="[PATH]...")
@data_option("Files, folders (with all below), globs; the same as PATH.", required=False, multiple=True)
@model_option()
@output_option("Folder for the results.")
@drawing_options
@click.option("--fail-on-anomaly", is_flag=True, help="Exit with 1 when something is defective or unknown.")
@click.option("--quiet", is_flag=True, help="Print errors only.")
@click.option(
    "--engine",
    type=click.Choice(("local", "ray")),
    default="local",
    help="ray: on many cores or machines, results as Parquet, continued after a stop; no drawings.",
)
@click.option("--workers", type=click.IntRange(1), metavar="N", help="With ray: models (one a core or GPU).")
@click.option("--watch", "watched", hidden=True, metavar="DIR", help="Became a command of its own.")
@running_options
@score_settings
@verdict_settings
@gathering_settings
def inspect_command(
    paths: tuple[str, ...],
    data: tuple[str, ...],
    device: str,
    dtype: str,
    settings: dict[str, Any],
    no_overlays: bool,
    watched: str | None,
    engine: str,
    workers: int | None,
    **options: Any,
) -> int:
    """Find defects in pictures.

    Settings that are not given are taken from the model.
    """
    if watched is not None:
        raise CannotRun(f"--watch became a command; run: diffusionad watch {watched}")
    inspection = Inspection(data=(*paths, *data), overlays=not no_overlays, **options)
    files = check(inspection, settings.get("roi"))
    if engine == "ray":
        return _inspect_at_scale(inspection, files, device, dtype, settings, workers)
    from diffusionad.inspection.inspector import Inspector

    pipeline = load_pipeline(inspection.model, device, dtype, settings)
    try:
        inspector = Inspector(
            pipeline, inspection.output, inspection.batch_size, inspection.overlays, inspection.panels
        )
        return _inspect_files(inspection, inspector, files)
    except (ValueError, RuntimeError, OSError) as error:
        if isinstance(error, BrokenPipeError):
            raise
        raise CannotRun(one_line(error)) from error


def _inspect_at_scale(
    inspection: Inspection,
    files: list[Path],
    device: str,
    dtype: str,
    settings: dict[str, Any],
    workers: int | None,
) -> int:
    from diffusionad.deploy.at_scale import LoadModel, inspect_at_scale

    model = model_source(inspection.model)
    model = os.path.abspath(model) if os.path.isdir(model) else model
    settings |= {"roi": os.path.abspath(settings["roi"])} if "roi" in settings else {}
    load = LoadModel(model, "cpu" if device == "auto" else device, dtype, settings)
    names = [os.path.abspath(file) for file in files]
    try:
        counts = inspect_at_scale(
            names, load, inspection.model, inspection.output, workers, inspection.batch_size, device == "cuda"
        )
    except (ValueError, RuntimeError, OSError) as error:
        raise CannotRun(one_line(error)) from error
    if not inspection.quiet:
        words = ", ".join(f"{count} {word}" for word, count in sorted(counts.items()))
        print(f"{counts.total()} pictures: {words}\nResults: {inspection.output / 'part-*.parquet'}")
    return EXIT_ANOMALY if inspection.fail_on_anomaly and (counts["defective"] or counts["unknown"]) else 0


def check(inspection: Inspection, roi: str | None) -> list[Path]:
    """Return the pictures to inspect; make the output folder.

    Raises:
        CannotRun: the arguments name nothing to read or write.
    """
    from diffusionad.images.image_io import ImageError, find_images
    from diffusionad.inspection.inspector import OVERLAYS, PANELS

    if not inspection.data:
        raise CannotRun("no pictures given; name files, folders or globs.")
    check_drawing(inspection.batch_size, roi)
    try:
        files = find_images(inspection.data)
    except (ImageError, OSError) as error:
        raise CannotRun(one_line(error)) from error
    # An earlier run's drawings are not inspected when the output lies among the pictures.
    drawn = tuple(Path(os.path.abspath(inspection.output), name) for name in (OVERLAYS, PANELS))
    files = [f for f in files if not any(Path(os.path.abspath(f)).is_relative_to(d) for d in drawn)]
    if not files:
        raise CannotRun(f"`{inspection.data[0]}` holds no picture but those drawn by an earlier run.")
    make_output(inspection.output)
    return files


def _inspect_files(inspection: Inspection, inspector: "Inspector", files: list[Path]) -> int:
    from tqdm import tqdm

    from diffusionad.inspection.inspector import common_root
    from diffusionad.inspection.monitoring import monitor_of, monitored
    from diffusionad.inspection.results import ResultWriter, header
    from diffusionad.interrupts import StopRequest
    from diffusionad.postprocessing.verdict import score_text

    started = time.perf_counter()
    head = header(inspector.pipeline, inspection.model)
    monitor = monitor_of(inspector.pipeline)

    def say(text: str) -> None:
        if not inspection.quiet:
            tqdm.write(text, file=sys.stdout)

    # The bar is for a person at a terminal, not for a log file.
    bar_hidden = True if inspection.quiet else None
    with (
        StopRequest() as stop,
        ResultWriter(inspection.output, head, len(files), relative=True) as writer,
        tqdm(total=len(files), unit="picture", disable=bar_hidden, leave=False) as bar,
    ):
        for result in monitored(inspector(files, common_root(files)), monitor):
            writer.add(result)
            bar.update()
            if result.verdict is None:
                tqdm.write(f"{result.file}: cannot be inspected: {result.error}", file=sys.stderr)
            else:
                score = score_text(result.verdict.score)
                say(f"{result.verdict.label.upper():9}  {score}  {result.file}")
            if stop.requested:
                break
    summary = writer.summary()
    warning = monitor and monitor.warning()
    if warning:
        print(warning, file=sys.stderr)
    say(_summary_text(inspection.output, inspector.pipeline, summary, time.perf_counter() - started))
    if not summary["complete"]:
        return EXIT_INTERRUPTED
    if summary["unreadable"] == summary["pictures"]:
        raise CannotRun(f"none of the {summary['pictures']} pictures could be inspected.")
    return EXIT_ANOMALY if inspection.fail_on_anomaly and (summary["defective"] or summary["unknown"]) else 0


def _summary_text(
    output: Path, pipeline: "DiffusionADPipeline", summary: dict[str, int | bool], seconds: float
) -> str:
    from diffusionad.postprocessing.verdict import percent, score_text

    config = pipeline.config
    n = summary["pictures"]
    text = f"{n} picture{'s' * (n != 1)}: {summary['defective']} defective, {summary['good']} good"
    others = {"unknown": "not a part that the model knows", "unreadable": "could not be inspected"}
    text += "".join(f", {summary[name]} {what}" for name, what in others.items() if summary[name])
    text += f" ({seconds:.1f} s)" if summary["complete"] else " (interrupted)"
    if config.calibration is None or config.calibration["threshold"] != config.threshold:
        text += f"\nThe threshold {score_text(config.threshold)} is not from a calibration "
        text += "with these settings: it promises no false-alarm rate."
    else:
        rate, n = config.calibration["rate"], config.calibration["n"]
        text += f"\nOf good parts, at most {percent(rate)} are expected above the threshold "
        text += f"{score_text(config.threshold)} (n = {n})."
    return f"{text}\nResults: {output / 'results.csv'}, {output / 'results.json'}"
