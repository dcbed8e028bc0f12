"""Publish the app as a Space on the Hugging Face Hub.

    python -m hub.push_space org/name --models org/model-a org/model-b
    python -m hub.push_space org/name --dry-run --output DIR

The Space offers the embedded models and those named: ids, or an organisation for all of its models. The
second command writes the folder that would be pushed (`python app.py` runs it), and pushes nothing.
"""

import argparse
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import HfApi, SpaceCard, SpaceCardData

from diffusionad.loading.fingerprint import WEIGHTS
from diffusionad.loading.hub_errors import hub_errors
from diffusionad.loading.hub_models import find_models
from diffusionad.loading.pretrained import CONFIGS

from .repo_folder import describe
from .upload import commit, create, push_errors

ROOT = Path(__file__).parents[1]
FILES = ("app.py", "requirements.txt", "LICENSE", "NOTICE")
NOT_COPIED = shutil.ignore_patterns("__pycache__", ".*")

CPU, ZERO = "cpu-basic", "zero-a10g"
# Without it pip takes torch's CUDA build, several GB that a Space without a GPU has no use for.
CPU_INDEX = "--extra-index-url https://download.pytorch.org/whl/cpu\n"

MODELS_VARIABLE = "DIFFUSIONAD_MODELS"
LOADED = ",".join([*CONFIGS, f"segmenter/{WEIGHTS}", f"unet/{WEIGHTS}"])

BODY = """
# {title}

Finds defects in pictures of parts after seeing good parts only, and shows what the part should have looked
like: norm-guided one-step denoising diffusion ([arXiv 2303.08730](https://arxiv.org/abs/2303.08730)).
"""


def write_space_folder(output: Path, models: list[str], hardware: str) -> None:
    """All that the Space runs: the app, the package beside it, requirements, and its README.

    Args:
        output: a folder that does not exist, or is empty.
        models: ids, fetched when the Space is built; organisations, looked up when it starts.
        hardware: the Hub's name of it.

    Raises:
        ValueError: `output` is not empty.
    """
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ValueError(f"`--output`: `{output}` is not empty; choose another folder.")
    output.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        shutil.copyfile(ROOT / name, output / name)
    if hardware.startswith("cpu"):
        requirements = (output / "requirements.txt").read_text(encoding="utf-8")
        (output / "requirements.txt").write_text(CPU_INDEX + requirements, encoding="utf-8")
    shutil.copytree(ROOT / "diffusionad", output / "diffusionad", ignore=NOT_COPIED)
    (output / "README.md").write_text(space_card(models, hardware), encoding="utf-8")


def space_card(models: list[str], hardware: str) -> str:
    """README.md of the Space: the project's own front matter, with the models and the hardware."""
    # The project itself is a Space, too: what both need is written once, in its README.
    data = SpaceCard.load(ROOT / "README.md").data.to_dict()
    data["suggested_hardware"] = hardware
    ids = [name for name in models if "/" in name]
    if ids:
        data |= {"models": ids, "preload_from_hub": [f"{repo_id} {LOADED}" for repo_id in ids]}
    return f"---\n{SpaceCardData(**data).to_yaml()}\n---\n{BODY.format(title=data['title'])}"


def push(folder: Path, args: argparse.Namespace) -> str:
    """Create the Space, set its variable and its hardware, then bring the files, which start it."""
    api = HfApi()
    for name in args.models:
        for repo_id in find_models(name):
            with hub_errors(f"`{repo_id}`"):
                api.model_info(repo_id)
    url = create(args.repo, "space", args.private, api, space_sdk="gradio")
    with push_errors(args.repo):
        if args.models:
            api.add_space_variable(args.repo, MODELS_VARIABLE, ",".join(args.models))
        if args.hardware != CPU:
            api.request_space_hardware(args.repo, args.hardware)
    commit(folder, args.repo, "space", "Publish the app", api)
    return url


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m hub.push_space",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("repo", metavar="ORG/NAME", help="where to")
    parser.add_argument("--models", nargs="+", default=[], metavar="ID", help="ids, or organisations")
    parser.add_argument(
        "--hardware", default=CPU, help=f"{CPU} is free; {ZERO} is ZeroGPU; any other that the Hub offers"
    )
    parser.add_argument("--private", action="store_true", help="only its owners see it")
    parser.add_argument("--dry-run", action="store_true", help="write the folder, push nothing")
    parser.add_argument("--output", type=Path, metavar="DIR", help="for --dry-run: where to")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = build_parser()
    args = parser.parse_args(arguments)
    if args.dry_run != (args.output is not None):
        parser.error("--dry-run and --output go together.")
    if args.repo.count("/") != 1:
        parser.error(f"ORG/NAME is {args.repo!r}; give your user name or organisation, a slash, and a name.")
    try:
        with tempfile.TemporaryDirectory() as temporary:
            folder = args.output or Path(temporary)
            write_space_folder(folder, args.models, args.hardware)
            if args.dry_run:
                print(f"{args.repo}: {folder}\n{describe(folder)}\n\nNothing was pushed.")
            else:
                print(f"Published: {push(folder, args)}")
    except (ValueError, OSError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
