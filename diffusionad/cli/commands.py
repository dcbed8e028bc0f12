"""What the commands of `diffusionad` do; `cli.py` says what they accept.

torch is imported after the arguments have been checked: mistakes are answered at once.
"""

import argparse
import os
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from diffusionad.images.image_io import ImageError, find_images, read_image
from diffusionad.inspection.inspector import OVERLAYS, PANELS, Inspector, common_root
from diffusionad.inspection.results import Result, ResultWriter, header, percent, score_text
from diffusionad.inspection.watch import Stop, WatchLog, watch
from diffusionad.loading.bundled import demo_model, demo_models
from diffusionad.postprocessing.calibration import Calibration
from diffusionad.postprocessing.drift import WINDOW, DriftMonitor

if TYPE_CHECKING:
    from diffusionad.pipeline import DiffusionADPipeline

EXIT_ANOMALY, EXIT_INTERRUPTED = 1, 130

# Options that override a setting saved with the model.
SETTINGS = {
    "threshold": "threshold",
    "t_fine": "t_fine",
    "t_coarse": "t_coarse",
    "guidance_weight": "guidance_weight",
    "num_noise_samples": "num_noise_samples",
    "steps": "num_inference_steps",
    "roi": "roi",
    "min_region_area": "min_region_area",
    "ignore_border": "ignore_border",
    "mark_similarity": "mark_similarity",
}


class UsageError(Exception):
    """What the user can put right, in one sentence."""


def inspect(args: argparse.Namespace) -> int:
    files = _check_inspect(args)
    pipeline = load_pipeline(args)
    inspector = Inspector(
        pipeline, args.output, args.batch_size, overlays=not args.no_overlays, panels=args.panels
    )
    try:
        return _watch(args, inspector) if args.watch else _inspect_files(args, inspector, files)
    except (ValueError, RuntimeError, OSError) as error:
        if isinstance(error, BrokenPipeError):
            raise
        raise UsageError(one_line(error)) from error


def _check_inspect(args: argparse.Namespace) -> list[Path]:
    """The pictures to inspect; none for a watch."""
    if args.watch and args.paths:
        raise UsageError("PATH and --watch exclude each other; give one of them.")
    if not args.watch and not args.paths:
        raise UsageError("no pictures given; name files, folders or globs, or use --watch DIR.")
    if args.watch and args.fail_on_anomaly:
        raise UsageError("--watch and --fail-on-anomaly exclude each other: a watch ends when it is stopped.")
    if args.watch and not args.watch.is_dir():
        raise UsageError(f"--watch: `{args.watch}` is no folder.")
    if args.interval <= 0:
        raise UsageError(f"--interval is {args.interval:g}; give a number of seconds above 0.")
    if args.batch_size < 1:
        raise UsageError(f"--batch-size is {args.batch_size}; give at least 1.")
    try:
        if args.roi is not None:
            read_image(args.roi)
        files = [] if args.watch else find_images(args.paths)
    except (ImageError, OSError) as error:
        raise UsageError(one_line(error)) from error
    # What an earlier run has drawn is no picture to inspect, when the output lies among the pictures.
    drawn = tuple(Path(os.path.abspath(args.output), name) for name in (OVERLAYS, PANELS))
    files = [f for f in files if not any(Path(os.path.abspath(f)).is_relative_to(d) for d in drawn)]
    if not files and not args.watch:
        raise UsageError(f"`{args.paths[0]}` holds no picture but those drawn by an earlier run.")
    try:
        args.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--output: `{args.output}` cannot be made a folder ({error.strerror}).") from error
    return files


def load_pipeline(args: argparse.Namespace) -> "DiffusionADPipeline":
    """The model on its device, with the settings given on the command line."""
    import torch

    from diffusionad.pipeline import DiffusionADPipeline

    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    device = next(d for d in available if available[d]) if args.device == "auto" else args.device
    if not available[device]:
        raise UsageError(f"--device {device}: torch {torch.__version__} finds none; use cpu or auto.")
    try:
        pipeline = DiffusionADPipeline.from_pretrained(model_source(args), dtype=getattr(torch, args.dtype))
    except (OSError, ValueError) as error:
        raise UsageError(f"--model: {one_line(error)}") from error
    if args.command == "calibrate":
        pipeline.configure(calibration=None)  # it is about to be replaced: no warning that it no longer fits
    given = {name: getattr(args, option, None) for option, name in SETTINGS.items()}
    try:
        pipeline.configure(**{name: value for name, value in given.items() if value is not None})
    except ValueError as error:
        raise UsageError(one_line(error)) from error
    return pipeline.to(device)


def model_source(args: argparse.Namespace) -> str:
    """What `--model` names: a folder, an embedded model's folder, or an id on the Hub."""
    is_embedded = args.model in demo_models() and not Path(args.model).is_dir()
    return demo_model(args.model) if is_embedded else args.model


def _inspect_files(args: argparse.Namespace, inspector: Inspector, files: list[Path]) -> int:
    from tqdm import tqdm

    started = time.perf_counter()
    head = header(inspector.pipeline, args.model)
    monitor = _monitor(inspector.pipeline)
    say = (lambda text: None) if args.quiet else (lambda text: tqdm.write(text, file=sys.stdout))
    # The bar is for a person at a terminal, not for a log file.
    with (
        Stop() as stop,
        ResultWriter(args.output, head, len(files)) as writer,
        tqdm(total=len(files), unit="picture", disable=True if args.quiet else None, leave=False) as bar,
    ):
        for result in monitored(inspector(files, common_root(files)), monitor):
            writer.add(result)
            bar.update()
            if result.error is not None:
                tqdm.write(f"{result.file}: cannot be read: {result.error}", file=sys.stderr)
            elif result.verdict.is_anomalous:
                say(f"{result.file}: {result.verdict}")
            if stop.requested:
                break
    summary = writer.summary()
    warning = monitor and monitor.warning()
    if warning:
        print(warning, file=sys.stderr)
    say(_summary_text(args, inspector, summary, time.perf_counter() - started))
    if not summary["complete"]:
        return EXIT_INTERRUPTED
    if summary["unreadable"] == summary["pictures"]:
        raise UsageError(f"none of the {summary['pictures']} pictures could be read.")
    return EXIT_ANOMALY if summary["anomalous"] and args.fail_on_anomaly else 0


def _summary_text(
    args: argparse.Namespace, inspector: Inspector, summary: dict[str, int | bool], seconds: float
) -> str:
    config = inspector.pipeline.config
    n = summary["pictures"]
    text = f"{n} picture{'s' * (n != 1)}: {summary['anomalous']} anomalous, {summary['normal']} normal"
    if summary["unreadable"]:
        text += f", {summary['unreadable']} could not be read"
    text += f" ({seconds:.1f} s)" if summary["complete"] else " (interrupted)"
    if config.calibration is None or config.calibration["threshold"] != config.threshold:
        text += f"\nThe threshold {score_text(config.threshold)} is not from a calibration "
        text += "with these settings: it promises no false-alarm rate."
    else:
        rate, n = config.calibration["rate"], config.calibration["n"]
        text += f"\nOf normal pictures, at most {percent(rate)} are expected above the threshold "
        text += f"{score_text(config.threshold)} (n = {n})."
    return f"{text}\nResults: {args.output / 'results.csv'}, {args.output / 'results.json'}"


def _watch(args: argparse.Namespace, inspector: Inspector) -> int:
    folder, output = (Path(os.path.abspath(path)) for path in (args.watch, args.output))
    log = WatchLog(args.output / "watched.jsonl")
    monitor = _monitor(inspector.pipeline)
    with Stop() as stop:
        if not args.quiet:
            print(f"Watching {args.watch}; Ctrl-C ends it.", file=sys.stderr, flush=True)
        watch(
            folder,
            log,
            lambda files: monitored(inspector(files, folder), monitor, every=WINDOW),
            stop,
            args.interval,
            ignore=[output / OVERLAYS, output / PANELS],
        )
    return 0


def _monitor(pipeline: "DiffusionADPipeline") -> DriftMonitor | None:
    """None without a calibration to compare with."""
    calibration = pipeline.config.calibration
    return None if calibration is None else DriftMonitor(Calibration.from_dict(calibration))


def monitored(
    results: Iterable[Result], monitor: DriftMonitor | None, every: int | None = None
) -> Iterator[Result]:
    """The results as they come; the monitor sees their scores and, after so many, warns on stderr."""
    for result in results:
        if monitor is not None and result.verdict is not None:
            monitor.add(result.verdict.score)
            warning = monitor.warning() if every and monitor.count % every == 0 else None
            if warning:
                print(warning, file=sys.stderr, flush=True)
        yield result


def serve(args: argparse.Namespace) -> int:
    try:
        from diffusionad.ui import LAUNCH_OPTIONS, build_app
    except ModuleNotFoundError as error:
        if error.name != "gradio":
            raise
        raise UsageError("the screens need gradio; `pip install 'diffusionad[app]'` installs it.") from error
    from diffusionad.loading.hub_models import find_models

    try:
        models = [found for model in args.model for found in find_models(model)]
    except OSError as error:
        raise UsageError(f"--model: {one_line(error)}") from error
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # temporary files go away then, too
    app = build_app(models or None).queue(max_size=64)
    try:
        app.launch(server_name=args.host, server_port=args.port, **LAUNCH_OPTIONS)
    except OSError as error:
        raise UsageError(f"--port: {one_line(error)}") from error
    except KeyboardInterrupt:
        app.close()
    return 0


def one_line(error: Exception) -> str:
    """The sentence of an error; libraries append paragraphs to theirs."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
