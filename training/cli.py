"""Commands `train`, `evaluate`, `catalog` and `preview`: arguments to settings, errors to sentences.

They are `diffusionad train` and `python -m training.train`, and so on. Importing this module imports neither
torch nor NumPy; a command imports what it runs once its arguments are known to be right.
"""

from collections.abc import Callable
from pathlib import Path

import click

from diffusionad.cli.options import (
    announce,
    data_option,
    model_option,
    output_option,
)

from .config.options import Settings, runs_folder, settings_options
from .config.schema import FAMILIES, KINDS, TrainConfig
from .console import IS_MAIN_PROCESS, complain, say
from .guarding import EXIT_STOPPED, ResumableCommand, guarded, sentences

DATA_HELP = "A data set as downloaded, a folder of good pictures, or hf:org/name."

TRAIN_EXAMPLES = """\
\b
Examples:
  diffusionad train photos/ --output runs/washer
  diffusionad train mvtec/ --category bottle --preset fast
  accelerate launch --num_processes 4 -m training.train --data mvtec/ --preset paper
"""

EVALUATE_EXAMPLES = """\
\b
Examples:
  diffusionad evaluate --model runs/bottle/pipeline --data mvtec/bottle --output report
  diffusionad evaluate --model 'runs/{category}/pipeline' --data mvtec --output report

The second one measures every category with its own model, and writes the table over all of them, too.
"""


@click.command("train", cls=ResumableCommand, epilog=TRAIN_EXAMPLES)
@click.argument("pictures", metavar="[DATA]", required=False)
@data_option(DATA_HELP, required=False)
@click.option(
    "--category",
    default="",
    help='Of a data set: one; "a,b,c" for one model; "all" for a run each, finished ones skipped.',
)
@output_option("Run folder. Default: $DIFFUSIONAD_RUNS/<category>.", required=False)
@click.option("--resume", is_flag=True, help="Go on from the last checkpoint.")
@click.option(
    "--more-minutes",
    type=click.FloatRange(min=0, min_open=True),
    help="Train the run in --output for further minutes, finished or not.",
)
@click.option("--push-to-hub", metavar="ORG/NAME", help="Publish the finished run.")
@click.option("--private", is_flag=True, help="With --push-to-hub: publish it privately.")
@click.option(
    "--dataset",
    metavar="NAME",
    help="With --push-to-hub: name of the data set; needed where the folder does not say it.",
)
@click.option(
    "--license",
    metavar="ID",
    help="With --push-to-hub: licence of the pictures, the Hub's identifier, which the weights take over; "
    "needed for data sets that the push does not know.",
)
@settings_options()
def train_command(
    pictures: str | None,
    data: str | None,
    category: str,
    output: Path | None,
    resume: bool,
    more_minutes: float | None,
    push_to_hub: str | None,
    private: bool,
    dataset: str | None,
    license: str | None,
    settings: Settings,
) -> int:
    """Train a model on pictures of good parts.

    The run folder holds config.toml, splits.json, log.jsonl, curves.png, checkpoint-N/, pipeline/ (the
    published weights), metrics.json, scores.csv and samples/.
    """
    path = one_of(pictures, data)
    for name, value in {"--private": private, "--dataset": dataset, "--license": license}.items():
        if value and not push_to_hub:
            raise click.UsageError(f"{name} says how the run is published; give --push-to-hub ORG/NAME, too.")
    if more_minutes and category == "all":
        raise click.UsageError("--more-minutes trains one run on; name its category.")

    if IS_MAIN_PROCESS:
        announce(f"Reading {path} ...")

    def push(run: Path, repo_id: str) -> None:
        from .trainer.sweep import push_to_hub as push_run

        if IS_MAIN_PROCESS:
            push_run(run, repo_id, private, dataset, license)

    def work() -> int:
        config = settings.config(path)
        if category == "all":
            after = (lambda run: push(run, f"{push_to_hub}-{run.name}")) if push_to_hub else None
            return train_all(config, output or runs_folder() / Path(path).resolve().name, after)
        run = train_one(config, category, output, resume, more_minutes)
        if push_to_hub:
            push(run, push_to_hub)
        return 0

    return guarded(work, is_resumed=bool(resume or more_minutes) or category == "all")


def train_one(
    config: TrainConfig, category: str, output: Path | None, resume: bool, more_minutes: float | None
) -> Path:
    """Train on one category, or on several in one model; return the run folder."""
    from .run_folder import check_unused, checkpoints, prolong, same_config
    from .trainer.sweep import folder_name, for_category
    from .trainer.training import train

    config = for_category(config, category)
    output = output or runs_folder() / folder_name(config)
    if more_minutes:
        return train(prolong(output, config, more_minutes), output, resume=True)
    if resume and checkpoints(output):
        return train(same_config(output, config), output, resume=True)
    check_unused(output)
    if resume:
        say(f"note: `{output}` has no checkpoint to resume; the run begins anew.")
    return train(config, output)


def train_all(config: TrainConfig, output: Path, after: Callable[[Path], None] | None) -> int:
    """Train a model for each category; return 1 where some failed."""
    from .data.catalog import categories
    from .trainer.sweep import run_each
    from .trainer.training import train

    failures = run_each(
        train, config, categories(config.data.path), output, after or (lambda run: None), say=say
    )
    for category, reason in failures.items():
        complain(f"{category} failed: {reason}")
    return EXIT_STOPPED if failures else 0


@click.command("evaluate", epilog=EVALUATE_EXAMPLES)
@model_option()
@data_option("A data set as downloaded, one category of it, or hf:org/name.")
@click.option("--category", help="Only this category of the data set.")
@click.option(
    "--development",
    type=click.Path(path_type=Path),
    metavar="LIST",
    help="Test pictures that choices were made with, a line each (crack/007.png). The figures leave them "
    "out; those over all pictures stand beside them.",
)
@output_option("Folder for the figures.")
def evaluate_command(
    model: str, data: str, category: str | None, development: Path | None, output: Path
) -> None:
    """Measure a trained model on the test pictures of a data set."""
    from .data.catalog import categories
    from .evaluation.evaluator import evaluate_folder, headline
    from .evaluation.tables import write_tables

    with sentences():
        if "{category}" not in model:
            print(headline(evaluate_folder(model, data, output, category, development)))
        else:
            for name in [category] if category else categories(data):
                metrics = evaluate_folder(model.replace("{category}", name), data, output / name, name)
                print(name, headline(metrics), sep="\n")
            print(write_tables(output))
    print(f"Everything is in {output}")


@click.command("catalog", epilog="\b\nExample:\n  diffusionad catalog mvtec/")
@click.argument("pictures", metavar="[DATA]", required=False)
@data_option(DATA_HELP, required=False)
@click.option("--category", help="Only this category.")
def catalog_command(pictures: str | None, data: str | None, category: str | None) -> int:
    """List what a data set holds, then what is wrong with it, file by file.

    The exit status is 1 where a category cannot be trained with.
    """
    path = one_of(pictures, data)
    from .data.catalog import print_catalog

    with sentences():
        faults = print_catalog(path, category)
    for fault in faults:
        click.echo(fault, err=True)
    return 1 if faults else 0


@click.command(
    "preview", epilog="\b\nExample:\n  diffusionad preview --data photos/ --preset tiny --output sheet.png"
)
@data_option("A data set, or a folder of good pictures.")
@click.option("--category", default="", help="Category of a data set with several.")
@output_option("Picture file of the sheet: normal picture, synthetic sample, mask.", required=False)
@click.option("--benchmark", is_flag=True, help="Print samples per second of each family.")
@click.option("--preset", metavar="NAME", help="Preset or TOML file. Default: the paper's settings.")
@click.option("--families", help=f"Families of defects, of {', '.join(FAMILIES)}. Default: the preset's.")
@click.option("--kind", type=click.Choice(KINDS), help="Kind of the part. Default: the preset's.")
@click.option("--textures", metavar="PATH", help="Folder of textures such as DTD. Default: the preset's.")
@click.option("--foreground", help="classical, rembg, none, or a folder of masks. Default: the preset's.")
@click.option("--size", type=int, help="Side of the samples in pixels. Default: the preset's.")
@click.option("--count", default=32, show_default=True, help="Number of samples.")
@click.option("--columns", default=4, show_default=True, help="Samples abreast on the sheet.")
@click.option("--seed", default=0, show_default=True, help="Seed of pictures, crops and defects.")
def preview_command(
    data: str,
    category: str,
    output: Path | None,
    benchmark: bool,
    preset: str | None,
    families: str | None,
    kind: str | None,
    textures: str | None,
    foreground: str | None,
    size: int | None,
    count: int,
    columns: int,
    seed: int,
) -> None:
    """Show the synthetic defects that training would see, on a sheet, or time them."""
    if output is None and not benchmark:
        raise click.UsageError("Nothing to do: give --output SHEET.png, --benchmark, or both.")
    from .synthesis.preview import preview_settings, write_preview

    with sentences():
        config, data_config = preview_settings(
            data,
            category,
            preset=preset,
            families=families.split(",") if families else (),
            kind=kind,
            textures=textures,
            foreground=foreground,
            size=size,
        )
        write_preview(
            config, data_config, output, count=count, columns=columns, seed=seed, benchmark=benchmark
        )


def one_of(argument: str | None, option: str | None) -> str:
    """Return the data that a command was given, as its argument or by `--data`."""
    given = [value for value in (argument, option) if value is not None]
    if len(given) != 1:
        raise click.UsageError(
            "Give DATA once, as the argument or by --data."
            if given
            else "DATA is missing: name the pictures."
        )
    return given[0]
