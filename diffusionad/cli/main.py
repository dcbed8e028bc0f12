"""The command `diffusionad`: what it accepts, and its exit status. What it does is in `commands.py`."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from diffusionad import __version__
from diffusionad.cli.commands import EXIT_INTERRUPTED, UsageError, inspect, serve
from diffusionad.inspection.recalibration import recalibrate

EXIT_USAGE, EXIT_PIPE = 2, 141

EPILOG = """\
examples:
  diffusionad inspect photos/ --model models/washer --output report
  diffusionad inspect 'line-1/*.png' part.jpg --model org/name --output report --fail-on-anomaly
  diffusionad inspect --watch incoming/ --model models/washer --output report

written to the output folder:
  results.csv, results.json   score, verdict, p-value and regions of each picture, whole or not at all
  overlays/                   heat map and contours over each picture
  panels/                     with --panels: picture, reconstruction, heat map and overlay side by side
  watched.jsonl               with --watch, instead of results.*: a line per picture, the watch's memory

exit status:
  0  done    1  something is anomalous, with --fail-on-anomaly    2  it cannot be done; stderr says why
  130  interrupted; what was inspected until then is written
"""


CALIBRATE_EPILOG = """\
examples:
  diffusionad calibrate good/ --model models/washer
  diffusionad calibrate good/ --model org/name --output models/washer --rate 0.002

Stored with the model: threshold, pixel threshold, rate, n, the day, and the scores behind the p-values.
Settings given here are stored, too: the threshold holds for them alone.
"""

MODEL_HELP = "folder of a saved model, its id on the Hub (org/name), or the name of an embedded one"


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_USAGE, f"{self.prog}: {message}; see {self.prog} --help\n")


def main(argv: Sequence[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    # A file name that the terminal cannot show is no reason to stop.
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")
    try:
        return args.run(args)
    except UsageError as error:
        print(f"diffusionad {args.command}: {error}", file=sys.stderr)
        return EXIT_USAGE
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of stdout has gone; nothing may be written to it again, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_PIPE


def build_parser() -> argparse.ArgumentParser:
    parser = Parser(prog="diffusionad", description="Image anomaly detection (arXiv 2303.08730).")
    parser.add_argument("--version", action="version", version=f"diffusionad {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_inspect(commands)
    _add_calibrate(commands)
    _add_serve(commands)
    return parser


def _add_inspect(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "inspect",
        help="find anomalies in pictures",
        description="Find anomalies in pictures, or in those that arrive in a folder.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=inspect)
    parser.add_argument("paths", nargs="*", metavar="PATH", help="files, folders (with all below), globs")
    parser.add_argument("--model", required=True, help=MODEL_HELP)
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="where the results go")

    run = _add_running(parser)
    run.add_argument(
        "--batch-size", type=int, default=8, metavar="N", help="pictures at a time, on a GPU (8)"
    )
    run.add_argument("--panels", action="store_true", help="also draw side-by-side pictures")
    run.add_argument("--no-overlays", action="store_true", help="draw no overlays")
    run.add_argument("--fail-on-anomaly", action="store_true", help="exit with 1 when something is anomalous")
    run.add_argument("--quiet", action="store_true", help="print errors only (and the lines of a watch)")

    settings = _add_score_settings(parser)
    settings.add_argument("--threshold", type=float, metavar="X", help="anomalous is what scores above, 0..1")
    settings.add_argument(
        "--min-region-area", type=int, metavar="PIXELS", help="what is smaller is no anomaly"
    )

    watching = parser.add_argument_group("watching a folder")
    watching.add_argument(
        "--watch",
        type=Path,
        metavar="DIR",
        help="instead of PATH: inspect each new picture in DIR once, also those that arrived while this was "
        "not running; one line of JSON a picture on stdout; ends with Ctrl-C or SIGTERM, status 0. Not with "
        "--fail-on-anomaly: a watch has no end to report at, read its lines instead",
    )
    watching.add_argument(
        "--interval", type=float, default=1.0, metavar="S", help="seconds between looks (1)"
    )


def _add_calibrate(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "calibrate",
        help="set the threshold from pictures of good parts",
        description="Set the threshold of a model for a false-alarm rate, from pictures of good parts that\n"
        "it was neither trained on nor chosen by. The promise: of good parts like these, at most\n"
        "that share scores above the threshold.",
        epilog=CALIBRATE_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=recalibrate)
    parser.add_argument("paths", nargs="+", metavar="PATH", help="files, folders (with all below), globs")
    parser.add_argument("--model", required=True, help=MODEL_HELP)
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="where the calibrated model goes (the model's own folder)"
    )
    parser.add_argument(
        "--rate",
        type=float,
        metavar="X",
        help="false-alarm rate to promise, such as 0.01 (the larger of 0.01 and 1/(n+1), for n pictures)",
    )
    run = _add_running(parser)
    run.add_argument("--quiet", action="store_true", help="print errors only")
    _add_score_settings(parser)


def _add_running(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    run = parser.add_argument_group("running")
    run.add_argument("--device", choices=("auto", "cpu", "cuda", "mps"), default="auto")
    run.add_argument(
        "--dtype", choices=("float32", "bfloat16", "float16"), default="float32", help="of the networks"
    )
    return run


def _add_score_settings(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    settings = parser.add_argument_group("settings", "what is not given is taken from the model")
    settings.add_argument("--t-fine", type=int, metavar="T", help="timestep of the little noise")
    settings.add_argument("--t-coarse", type=int, metavar="T", help="timestep of the lot of noise")
    settings.add_argument("--guidance-weight", type=float, metavar="W", help="0 uses the fine scale alone")
    settings.add_argument("--num-noise-samples", type=int, metavar="N", help="noise draws to average")
    settings.add_argument(
        "--steps", type=int, metavar="N", help="1 is the method; more is classical denoising"
    )
    settings.add_argument("--roi", metavar="MASK", help="picture of a mask, white where to look")
    settings.add_argument(
        "--ignore-border", type=int, metavar="PIXELS", help="of the model's map, on each side"
    )
    settings.add_argument(
        "--mark-similarity",
        type=float,
        metavar="X",
        help="correlation from which a mark that good parts carry is left out; 1 leaves out none",
    )
    return settings


def _add_serve(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "serve",
        help="open the screens in a browser",
        description="Serve the screens until Ctrl-C; the address is printed.",
    )
    parser.set_defaults(run=serve)
    parser.add_argument(
        "--model",
        action="append",
        default=[],
        help="offer this beside the embedded models: a folder, a Hub id, or an organisation for all of its "
        "models; may be given several times; without it, DIFFUSIONAD_MODELS is read (separated by commas)",
    )
    parser.add_argument("--host", help="address to listen on; 0.0.0.0 is all (127.0.0.1)")
    parser.add_argument("--port", type=int, help="port to listen on (the first free one from 7860)")


if __name__ == "__main__":
    sys.exit(main())
