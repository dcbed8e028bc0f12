"""Publish the app as a Space on the Hugging Face Hub: the app, the package beside it, and what it needs."""

import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import click

import diffusionad
from diffusionad.cli.options import CannotRun, announce, run

from .push_options import check_dry_run, check_empty, push_options

PACKAGE = Path(diffusionad.__file__).parent
# A wheel carries the clone's files in a folder of its own.
CLONE = PACKAGE / "space" if (PACKAGE / "space").is_dir() else PACKAGE.parent
FILES = ("app.py", "requirements.txt", "LICENSE", "NOTICE")
# A Space does not train. `training`, `hub` and `space` lie in the package of a wheel only.
NOT_COPIED = shutil.ignore_patterns("__pycache__", ".*", "training", "hub", "space")

CPU, ZERO = "cpu-basic", "zero-a10g"
# Without it pip takes torch's CUDA build, several GB that a Space without a GPU has no use for.
CPU_INDEX = "--extra-index-url https://download.pytorch.org/whl/cpu\n"

MODELS_VARIABLE = "DIFFUSIONAD_MODELS"

BODY = """
# {title}

Finds defects in pictures of parts after seeing good parts only, and shows what the part should have looked
like: norm-guided one-step denoising diffusion ([arXiv 2303.08730](https://arxiv.org/abs/2303.08730)).
"""

EPILOG = """\b
examples:
  diffusionad push-space --repo-id org/inspect --model org/bolt --model org/nut
  diffusionad push-space --repo-id org/inspect --dry-run --output build/space

The second writes the folder that would be pushed; `python app.py` in it runs the Space.
"""


@click.command("push-space", epilog=EPILOG)
@push_options
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="ID",
    help="Offer this beside the embedded models: an id on the Hub, or an organisation for all of its models; "
    "may be given several times.",
)
@click.option(
    "--hardware",
    default=CPU,
    show_default=True,
    help=f"The Hub's name of it: {CPU} is free, {ZERO} is ZeroGPU.",
)
def push_space_command(
    repo_id: str,
    private: bool,
    dry_run: bool,
    output: Path | None,
    models: tuple[str, ...],
    hardware: str,
) -> None:
    """Publish the screens as a Space on the Hugging Face Hub."""
    check_dry_run(dry_run, output)
    announce(f"Collecting the files of {repo_id} ...")
    try:
        with tempfile.TemporaryDirectory() as temporary:
            folder = output or Path(temporary)
            write_space_folder(folder, models, hardware)
            if dry_run:
                from .repo_folder import describe

                print(f"{repo_id}: {folder}\n{describe(folder)}\n\nNothing was pushed.")
            else:
                print(f"Published: {push_space(folder, repo_id, models, hardware, private)}")
    except (ValueError, OSError) as error:
        raise CannotRun(str(error)) from error


def write_space_folder(output: Path, models: Sequence[str], hardware: str) -> None:
    """Write all that the Space runs: the app, the package beside it, requirements, and its README.

    Args:
        output: a folder that does not exist, or is empty.
        models: ids, fetched when the Space is built; organisations, looked up when it starts.
        hardware: the Hub's name of it.

    Raises:
        ValueError: `output` is not empty.
    """
    check_empty(output)
    output.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        shutil.copyfile(CLONE / name, output / name)
    if hardware.startswith("cpu"):
        requirements = (output / "requirements.txt").read_text(encoding="utf-8")
        (output / "requirements.txt").write_text(CPU_INDEX + requirements, encoding="utf-8")
    shutil.copytree(PACKAGE, output / "diffusionad", ignore=NOT_COPIED)
    (output / "README.md").write_text(space_card(models, hardware), encoding="utf-8")


def space_card(models: Sequence[str], hardware: str) -> str:
    """Return README.md of the Space: the project's own front matter, with the models and the hardware."""
    from huggingface_hub import SpaceCard, SpaceCardData

    # The project itself is a Space, too: what both need is written once, in its README.
    data = SpaceCard.load(CLONE / "README.md").data.to_dict()
    data["suggested_hardware"] = hardware
    ids = [name for name in models if "/" in name]
    if ids:
        data |= {"models": ids, "preload_from_hub": [f"{repo_id} {preloaded()}" for repo_id in ids]}
    return f"---\n{SpaceCardData(**data).to_yaml()}\n---\n{BODY.format(title=data['title'])}"


def preloaded() -> str:
    """Return the files that every model has, as `preload_from_hub` takes them."""
    from diffusionad.loading.fingerprint import WEIGHTS
    from diffusionad.loading.pretrained import CONFIGS

    return ",".join([*CONFIGS, f"segmenter/{WEIGHTS}", f"unet/{WEIGHTS}"])


def push_space(folder: Path, repo_id: str, models: Sequence[str], hardware: str, private: bool) -> str:
    """Create the Space, set its variable and its hardware, then bring the files, which start it.

    Returns:
        Its address.

    Raises:
        FileNotFoundError: a model that is not there.
        OSError: the Hub refuses, or cannot be reached.
    """
    from huggingface_hub import HfApi

    from diffusionad.loading.hub_errors import hub_errors
    from diffusionad.loading.hub_models import find_models

    from .upload import commit, create, push_errors

    api = HfApi()
    for name in models:
        for model_id in find_models(name):
            with hub_errors(f"`{model_id}`"):
                api.model_info(model_id)
    url = create(repo_id, "space", private, api, space_sdk="gradio")
    with push_errors(repo_id):
        if models:
            api.add_space_variable(repo_id, MODELS_VARIABLE, ",".join(models))
        if hardware != CPU:
            # The Hub offers hardware before the client's enumeration lists it.
            api.request_space_hardware(repo_id, hardware)  # type: ignore[arg-type]
    commit(folder, repo_id, "space", "Publish the app", api)
    return url


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return run(push_space_command, arguments, "python -m hub.push_space")


if __name__ == "__main__":
    sys.exit(main())
