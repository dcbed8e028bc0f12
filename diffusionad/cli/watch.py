"""`diffusionad watch`: each picture that arrives in a folder to a verdict, and on to its receivers.

torch is imported after the arguments have been checked: mistakes are answered at once.
"""

import dataclasses
import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from diffusionad.cli.drawing import check_drawing, drawing_options, make_output
from diffusionad.cli.model import (
    SETTINGS,
    gathering_settings,
    load_pipeline,
    running_options,
    score_settings,
    verdict_settings,
)
from diffusionad.cli.options import CannotRun, model_option, one_line, output_option

if TYPE_CHECKING:
    from diffusionad.inspection.inspector import Inspector
    from diffusionad.line.config import LineConfig
    from diffusionad.line.metrics import Metrics
    from diffusionad.postprocessing.drift import DriftMonitor

EPILOG = """\
\b
Examples:
  diffusionad watch incoming/ --model models/washer --output report
  diffusionad watch --line line.toml

\b
Written to the output folder:
  watched.jsonl   a line per picture, the watch's memory
  heads/          model, settings and versions behind the lines
  overlays/       heat map and contours over each picture
  panels/         with --panels: picture, repaired part, heat map and overlay side by side
  spool/          messages that wait for their receiver

\b
Exit status:
  0  ended by Ctrl-C or SIGTERM    2  it cannot be done; stderr says why
"""


@click.command("watch", epilog=EPILOG, context_settings={"max_content_width": 110})
@click.argument("folder", required=False, metavar="[FOLDER]")
@click.option(
    "--line",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="TOML file with everything: folder, model, output, settings, webhook, MQTT, metrics. What is given "
    "here overrides it.",
)
@model_option(required=False)
@output_option("Folder for the results.", required=False)
@click.option("--interval", type=float, default=1.0, metavar="S", help="Seconds between looks (1).")
@drawing_options
@click.option("--quiet", is_flag=True, help="Print nothing but the lines and errors.")
@running_options
@score_settings
@verdict_settings
@gathering_settings
@click.pass_context
def watch_command(
    context: click.Context, line: Path | None, quiet: bool, settings: dict[str, Any], **options: Any
) -> int:
    """Inspect each picture in FOLDER once, as it arrives, and those that came while this was not running.

    A picture is one line of JSON on stdout. Settings that are not given are taken from the model.
    """
    given = {
        name: value
        for name, value in options.items()
        if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
    }
    config = _configured(line, given, settings)
    watched = config.watch
    pipeline = load_pipeline(str(watched.model), watched.device, watched.dtype, config.settings)
    try:
        from diffusionad.inspection.inspector import Inspector

        output = Path(str(watched.output))
        inspector = Inspector(pipeline, output, watched.batch_size, watched.overlays, watched.panels)
        _run(config, inspector, quiet)
        return 0
    except (ValueError, RuntimeError, OSError) as error:
        if isinstance(error, BrokenPipeError):
            raise
        raise CannotRun(one_line(error)) from error


def _configured(line: Path | None, given: dict[str, Any], settings: dict[str, Any]) -> "LineConfig":
    """Return the line's file with what the command line overrides; make the output folder.

    Raises:
        CannotRun: a wrong file or option, or nothing that is named.
    """
    from diffusionad.line.config import LineConfig, load_line

    try:
        config = LineConfig() if line is None else load_line(line, tuple(SETTINGS.values()))
    except (ValueError, OSError) as error:
        raise CannotRun(f"--line: {one_line(error)}") from error
    if given.pop("no_overlays", False):
        given["overlays"] = False
    given = {name: str(value) if isinstance(value, Path) else value for name, value in given.items()}
    watched = dataclasses.replace(config.watch, **given)
    for name, what in {"folder": "FOLDER", "model": "--model", "output": "--output"}.items():
        if getattr(watched, name) is None:
            raise CannotRun(f"{what} is missing; give it, or `{name}` in the section [watch] of --line.")
    if not Path(str(watched.folder)).is_dir():
        raise CannotRun(f"`{watched.folder}` is no folder.")
    if not 0 < watched.interval < float("inf"):
        raise CannotRun(f"--interval is {watched.interval:g}; give a number of seconds above 0.")
    config = dataclasses.replace(config, watch=watched, settings=config.settings | settings)
    check_drawing(watched.batch_size, config.settings.get("roi"))
    make_output(Path(str(watched.output)))
    return config


def _metrics(monitor: "DriftMonitor | None") -> "Metrics":
    from diffusionad.line.metrics import Metrics  # needs a package of the extra `line`

    return Metrics(monitor)


def _run(config: "LineConfig", inspector: "Inspector", quiet: bool) -> None:
    from diffusionad.inspection.inspector import OVERLAYS, PANELS
    from diffusionad.inspection.monitoring import monitor_of, monitored
    from diffusionad.inspection.results import header
    from diffusionad.inspection.trace import write_head
    from diffusionad.interrupts import StopRequest
    from diffusionad.line.sinks import open_sinks
    from diffusionad.line.watch import WatchLog, watch
    from diffusionad.postprocessing.drift import WINDOW

    root, drawn = (Path(os.path.abspath(str(path))) for path in (config.watch.folder, config.watch.output))
    log = WatchLog(inspector.output / "watched.jsonl")
    trace = write_head(header(inspector.pipeline, str(config.watch.model)), inspector.output)
    monitor = monitor_of(inspector.pipeline)
    metrics = None if config.metrics is None else _metrics(monitor)
    with ExitStack() as closing:
        sinks = open_sinks(config, inspector.output, metrics)
        for sink in sinks:
            closing.callback(sink.close)
        if metrics is not None and config.metrics is not None:
            metrics.follow({sink.name: sink.spool for sink in sinks})
            closing.callback(metrics.serve(config.metrics))
        stop = closing.enter_context(StopRequest())
        if not quiet:
            print(f"Watching {config.watch.folder}; Ctrl-C ends it.", file=sys.stderr, flush=True)
        watch(
            root,
            log,
            lambda files: monitored(inspector(files, root), monitor, every=WINDOW),
            stop,
            config.watch.interval,
            ignore=[drawn / OVERLAYS, drawn / PANELS, drawn / "spool"],
            sinks=sinks,
            metrics=metrics,
            trace=trace,
        )
