"""`diffusionad watch`: each picture that arrives in a folder to a verdict.

torch is imported after the arguments have been checked: mistakes are answered at once.
"""

import os
import sys
from pathlib import Path
from typing import Any

import click

from diffusionad.cli.drawing import check_drawing, drawing_options, make_output
from diffusionad.cli.model import (
    gathering_settings,
    load_pipeline,
    running_options,
    score_settings,
    verdict_settings,
)
from diffusionad.cli.options import CannotRun, model_option, one_line, output_option

EPILOG = """\
\b
Example:
  diffusionad watch incoming/ --model models/washer --output report

\b
Written to the output folder:
  watched.jsonl   a line per picture, the watch's memory
  overlays/       heat map and contours over each picture
  panels/         with --panels: picture, repaired part, heat map and overlay side by side

\b
Exit status:
  0  ended by Ctrl-C or SIGTERM    2  it cannot be done; stderr says why
"""


@click.command("watch", epilog=EPILOG, context_settings={"max_content_width": 110})
@click.argument("folder", metavar="FOLDER", type=click.Path(path_type=Path))
@model_option()
@output_option("Folder for the results.")
@click.option("--interval", type=float, default=1.0, metavar="S", help="Seconds between looks (1).")
@drawing_options
@click.option("--quiet", is_flag=True, help="Print nothing but the lines and errors.")
@running_options
@score_settings
@verdict_settings
@gathering_settings
def watch_command(
    folder: Path,
    model: str,
    output: Path,
    interval: float,
    batch_size: int,
    panels: bool,
    no_overlays: bool,
    quiet: bool,
    device: str,
    dtype: str,
    settings: dict[str, Any],
) -> int:
    """Inspect each picture in FOLDER once, as it arrives, and those that came while this was not running.

    A picture is one line of JSON on stdout. Settings that are not given are taken from the model.
    """
    if not folder.is_dir():
        raise CannotRun(f"`{folder}` is no folder.")
    if interval <= 0:
        raise CannotRun(f"--interval is {interval:g}; give a number of seconds above 0.")
    check_drawing(batch_size, settings.get("roi"))
    make_output(output)
    from diffusionad.inspection.inspector import OVERLAYS, PANELS, Inspector
    from diffusionad.inspection.monitoring import monitor_of, monitored
    from diffusionad.interrupts import StopRequest
    from diffusionad.line.watch import WatchLog, watch
    from diffusionad.postprocessing.drift import WINDOW

    pipeline = load_pipeline(model, device, dtype, settings)
    try:
        inspector = Inspector(pipeline, output, batch_size, not no_overlays, panels)
        root, drawn = Path(os.path.abspath(folder)), Path(os.path.abspath(output))
        log = WatchLog(output / "watched.jsonl")
        monitor = monitor_of(pipeline)
        with StopRequest() as stop:
            if not quiet:
                print(f"Watching {folder}; Ctrl-C ends it.", file=sys.stderr, flush=True)
            watch(
                root,
                log,
                lambda files: monitored(inspector(files, root), monitor, every=WINDOW),
                stop,
                interval,
                ignore=[drawn / OVERLAYS, drawn / PANELS],
            )
        return 0
    except (ValueError, RuntimeError, OSError) as error:
        if isinstance(error, BrokenPipeError):
            raise
        raise CannotRun(one_line(error)) from error
