"""Publish a finished run, or one for each category of a data set, on the Hugging Face Hub.

    python -m hub.push_model RUN --repo org/name
    python -m hub.push_model RUNS --repo org/name --category all
    python -m hub.push_model RUN --repo org/name --dry-run --output DIR

The second publishes each RUNS/<category> as org/name-<category>, and as org/name a card with the table over
all. The last writes the folder that would be pushed, and pushes nothing. Pushing again changes what changed.
"""

import argparse
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import HfApi

from .model_card import Publication, index_card
from .repo_folder import describe, write_repo_folder
from .run import FinishedRun, read_run
from .training_data import KNOWN, DataSet, data_set_of
from .upload import commit, create

ALL = "all"
PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"
URL_KEYS = ("repository", "source", "homepage")


def project_url(given: str | None) -> str:
    """From where the package is installed: `--project-url`, or what pyproject.toml says.

    Raises:
        ValueError: neither says it; nobody could use what is published.
    """
    urls = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"].get("urls", {})
    urls = {key.lower(): url for key, url in urls.items()}
    url = given or next((urls[key] for key in URL_KEYS if key in urls), None)
    if url is None:
        raise ValueError(
            "`--project-url` is missing: the card's first line says from where to install the package, and "
            'pyproject.toml does not say it; give it, or add `[project.urls]` with `Repository = "https://…"`.'
        )
    if not url.startswith("https://"):
        raise ValueError(f"`--project-url` is {url!r}; give the https:// address that `git clone` takes.")
    return url


def read_runs(folder: Path, repo_id: str, category: str | None) -> dict[str, FinishedRun]:
    """What is to be published, by repository.

    Raises:
        FileNotFoundError: no run there.
        ValueError: a run that must not be published; then none is.
    """
    if category is None:
        return {repo_id: read_run(folder)}
    if category != ALL:
        return {repo_id: read_run(folder / category)}
    runs = sorted(path.parent.parent for path in folder.glob("*/pipeline/model_index.json"))
    if not runs:
        raise FileNotFoundError(f"`{folder}` holds no <category>/pipeline; give the folder of the runs.")
    return {f"{repo_id}-{run.name}": read_run(run) for run in runs}


def write_folders(args: argparse.Namespace, output: Path) -> dict[str, Path]:
    """The folder of every repository, below `output` where there are several; the index comes last."""
    url = project_url(args.project_url)
    runs = read_runs(args.run, args.repo, args.category)
    folders = {}
    for repo_id, run in runs.items():
        data = _data_set(run, args)
        print(f"{repo_id}: {run.category}, trained on {data.name}; licence of the weights: {data.license}")
        folders[repo_id] = output / repo_id.rpartition("/")[2] if args.category == ALL else output
        examples = [example.replace("{category}", run.category) for example in args.examples]
        write_repo_folder(run, Publication(repo_id, url, data), folders[repo_id], examples)
    if args.category == ALL:
        data_sets = {_data_set(run, args) for run in runs.values()}
        if len(data_sets) > 1:
            raise ValueError(
                f"`{args.run}` holds runs on {len(data_sets)} data sets; publish them one by one."
            )
        folders[args.repo] = output / args.repo.rpartition("/")[2]
        folders[args.repo].mkdir()
        card = index_card(runs, Publication(args.repo, url, *data_sets))
        (folders[args.repo] / "README.md").write_text(card, encoding="utf-8")
    return folders


def _data_set(run: FinishedRun, args: argparse.Namespace) -> DataSet:
    return data_set_of(run.config.get("data", {}).get("path", ""), args.dataset, args.license)


def push(folders: dict[str, Path], private: bool) -> None:
    """Each folder to its repository, in one commit each."""
    api = HfApi()
    for repo_id, folder in folders.items():
        url = create(repo_id, "model", private, api)
        changed = commit(folder, repo_id, "model", f"Publish {repo_id.rpartition('/')[2]}", api)
        print(f"{'Published' if changed else 'Unchanged'}: {url}")


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m hub.push_model",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="run folder; with --category, of several")
    parser.add_argument("--repo", required=True, metavar="ORG/NAME", help="where to")
    parser.add_argument("--category", help='one below RUN, or "all"')
    parser.add_argument("--private", action="store_true", help="only its owners see it")
    parser.add_argument("--dataset", help=f"what it was trained on: {', '.join(KNOWN)}, or any name")
    parser.add_argument(
        "--license",
        metavar="ID",
        help="of data that is not known, as the Hub calls it; the weights take it over",
    )
    parser.add_argument(
        "--examples",
        nargs="+",
        default=[],
        metavar="PICTURE",
        help="pictures that are yours to publish, files or folders; {category} stands for its name. The card "
        "shows the first whose name does not begin with good. Without it no picture is published",
    )
    parser.add_argument("--project-url", metavar="URL", help="of the git repository that pip installs from")
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
        parser.error(f"--repo is {args.repo!r}; give org/name, with your user name or organisation.")
    try:
        with tempfile.TemporaryDirectory() as temporary:
            folders = write_folders(args, args.output or Path(temporary))
            if not args.dry_run:
                push(folders, args.private)
                return 0
        for repo_id, folder in folders.items():
            print(f"\n{repo_id}: {folder}\n{describe(folder)}")
        print("\nNothing was pushed.")
    except (ValueError, OSError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
