"""The command line of training: arguments to settings, errors to sentences."""

import argparse
import dataclasses
import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

from .config.schema import OptimConfig, TrainConfig, load_config, preset_names
from .data.selection import ALL, runs_of
from .run_folder import check_unused, resumable_config
from .trainer.divergence import TrainingError
from .trainer.sweep import Train, folder_name, for_category, push_to_hub, run_each

RANK = os.environ.get("RANK", "0")  # among the processes that `accelerate launch` starts
WRITES = RANK == "0"


def run_training(train: Train, description: str | None, arguments: list[str] | None) -> int:
    """`python -m training.train`."""
    parser = argparse.ArgumentParser(
        prog="python -m training.train",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", required=True, help="good pictures: a folder of them, or a data set")
    parser.add_argument(
        "--category",
        default="",
        help='of a data set: one; "a,b,c" for one model; "all" for a run each, finished ones skipped',
    )
    parser.add_argument("--output", type=Path, help="run folder (default: $DIFFUSIONAD_RUNS/<category>)")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    parser.add_argument("--push-to-hub", metavar="ORG/NAME", help="publish the finished run")
    parser.add_argument("--private", action="store_true", help="publish it privately")
    parser.add_argument(
        "--dataset",
        metavar="NAME",
        help="with --push-to-hub: what the pictures are called; needed where their folder does not say it",
    )
    parser.add_argument(
        "--license",
        metavar="ID",
        help="with --push-to-hub: their licence, as the Hub calls it, which the weights take over; needed "
        "for data that hub.push_model does not know",
    )
    add_settings(parser)
    args = parser.parse_args(arguments)
    about_pushing = {"--private": args.private, "--dataset": args.dataset, "--license": args.license}
    for name, value in about_pushing.items():
        if value and not args.push_to_hub:
            parser.error(f"{name} says how the run is published; give --push-to-hub ORG/NAME, too.")

    def work() -> int:
        config = settings_of(args)
        if args.category == ALL:
            return run_all(train, config, args)
        config = for_category(config, args.category)
        output = args.output or runs_folder() / folder_name(config)
        if args.resume:
            config = resumable_config(output, config)
        else:
            check_unused(output)
        train(config, output, args.resume)
        if args.push_to_hub and WRITES:
            push_to_hub(output, args.push_to_hub, args.private, args.dataset, args.license)
        return 0

    words = sys.argv[1:] if arguments is None else arguments
    again = [*words, *([] if args.resume or args.category == ALL else ["--resume"])]
    return guarded(work, parser.prog, again)


def run_all(train: Train, config: TrainConfig, args: argparse.Namespace) -> int:
    """`--category all`: one run for each, in the folder named by --output."""
    output = args.output or runs_folder() / Path(args.data).resolve().name

    def push(run: Path) -> None:
        if args.push_to_hub and WRITES:
            push_to_hub(run, f"{args.push_to_hub}-{run.name}", args.private, args.dataset, args.license)

    failures = run_each(train, config, runs_of(args.data, ALL), output, push, say=say)
    for category, reason in failures.items():
        complain(f"{category} failed: {reason}")
    return 1 if failures else 0


def add_settings(parser: argparse.ArgumentParser, preset: str = "tiny") -> None:
    """Arguments that decide the config of a run."""
    parser.add_argument("--preset", default=preset, help=f"{', '.join(preset_names())}, or a TOML file")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--max-minutes", type=float, help="of training; turned into steps by the pace so far")
    length.add_argument("--max-epochs", type=int)
    length.add_argument("--max-steps", type=int)
    parser.add_argument("--seed", type=int)
    parser.add_argument(
        "--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="any other setting"
    )


def settings_of(args: argparse.Namespace) -> TrainConfig:
    """The config that `add_settings` and `--data` ask for.

    Raises:
        ValueError: an unknown setting, or one that cannot be.
    """
    config = load_config(args.preset, args.set)
    optim = config.optim
    lengths = {name: getattr(args, name) for name in ("max_minutes", "max_epochs", "max_steps")}
    if any(value is not None for value in lengths.values()):
        optim = dataclasses.replace(optim, **{name: value or 0 for name, value in lengths.items()})
    if optim.max_minutes > 0 or optim.max_epochs > 0:
        optim = dataclasses.replace(optim, max_steps=0)  # not known yet
    if args.seed is not None:
        optim = dataclasses.replace(optim, seed=args.seed)
    _check_length(optim)
    return dataclasses.replace(config, optim=optim, data=dataclasses.replace(config.data, path=args.data))


def _check_length(optim: OptimConfig) -> None:
    for name in ("max_minutes", "max_epochs", "max_steps"):
        if getattr(optim, name) < 0:
            raise ValueError(f"`optim.{name}` is {getattr(optim, name)}; give a number above 0.")
    if not (optim.max_minutes or optim.max_epochs or optim.max_steps):
        raise ValueError("`optim.max_steps`, `max_epochs` and `max_minutes` are 0; set one of them.")


def runs_folder() -> Path:
    """Where runs go whose folder was not named."""
    return Path(os.environ.get("DIFFUSIONAD_RUNS", "runs"))


def guarded(work: Callable[[], int], prog: str, again: list[str]) -> int:
    """Run `work`; what a person can mend becomes one sentence and an exit status."""
    try:
        return work()
    except (ValueError, OSError) as error:
        complain(f"{prog}: error: {error}")
        return 2
    except TrainingError as error:
        complain(f"{prog}: stopped: {error}")
        return 1
    except KeyboardInterrupt:
        complain(f"\nStopped. Go on with: {prog} {shlex.join(again)}")
        return 130


def say(sentence: str) -> None:
    """To the person at the terminal, once however many processes there are."""
    if WRITES:
        print(sentence, flush=True)


def complain(sentence: str) -> None:
    """What went wrong; every process says it, since the one that fails may fail alone."""
    print(sentence if WRITES else f"[process {RANK}] {sentence}", file=sys.stderr, flush=True)
