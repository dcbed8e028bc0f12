"""From finished runs to repositories on the Hub: all folders are written before the first one is pushed."""

import importlib.metadata
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi

from .model_card import Publication, index_card
from .repo_folder import write_repo_folder
from .run import FinishedRun, read_run
from .training_data import DataSet, data_set_of
from .upload import commit, create

ALL = "all"
URL_KEYS = ("repository", "source", "homepage")


@dataclass(frozen=True)
class Push:
    """What is published, and where.

    Attributes:
        run: run folder; with `category`, the folder of several.
        repo_id: "org/name".
        category: one run below `run`, or "all"; None for `run` itself.
        dataset: name of the training's data set; None recognizes it by its folder.
        license: licence of its pictures, the Hub's identifier; None for a known data set.
        examples: pictures to publish, files or folders; "{category}" stands for its name.
        project_url: git repository of the package; None takes what the package says.
        takes_weak: publish a model that is hardly better than chance, too.
    """

    run: Path
    repo_id: str
    category: str | None = None
    dataset: str | None = None
    license: str | None = None
    examples: tuple[str, ...] = ()
    project_url: str | None = None
    takes_weak: bool = False


def project_url(given: str | None) -> str:
    """Return the git repository that pip installs the package from: as given, or as the package says.

    Raises:
        ValueError: neither says it; nobody could use the published model.
    """
    url = given or _url_of_package()
    if url is None:
        raise ValueError(
            "`--project-url` is missing: the card's first line says from where to install the package, which "
            "the installed package does not say; give it, or add `[project.urls]` with "
            '`Repository = "https://…"` to pyproject.toml and install the project again.'
        )
    if not url.startswith("https://"):
        raise ValueError(f"`--project-url` is {url!r}; give the https:// address that `git clone` takes.")
    return url


def _url_of_package() -> str | None:
    try:
        entries = importlib.metadata.metadata("diffusionad").get_all("Project-URL") or []
    except importlib.metadata.PackageNotFoundError:  # a clone that is not installed
        return None
    labels_and_urls = [[part.strip() for part in entry.split(",", 1)] for entry in entries]
    urls = {label.lower(): url for label, url in labels_and_urls}
    return next((urls[key] for key in URL_KEYS if key in urls), None)


def read_runs(
    folder: Path, repo_id: str, category: str | None, takes_weak: bool = False
) -> dict[str, FinishedRun]:
    """Read the runs to publish, by repository.

    Raises:
        FileNotFoundError: no run there.
        ValueError: a run that must not be published; then none is.
    """
    if category is None:
        return {repo_id: read_run(folder, takes_weak)}
    if category != ALL:
        return {repo_id: read_run(folder / category, takes_weak)}
    runs = sorted(path.parent.parent for path in folder.glob("*/pipeline/model_index.json"))
    if not runs:
        raise FileNotFoundError(f"`{folder}` holds no <category>/pipeline; give the folder of the runs.")
    return {f"{repo_id}-{run.name}": read_run(run, takes_weak) for run in runs}


def write_folders(asked: Push, output: Path) -> dict[str, Path]:
    """Write the folder of every repository, below `output` where there are several; the index comes last.

    Raises:
        FileNotFoundError: no run there.
        ValueError: something that must not be published.
    """
    url = project_url(asked.project_url)
    runs = read_runs(asked.run, asked.repo_id, asked.category, asked.takes_weak)
    folders = {}
    for repo_id, run in runs.items():
        data = _data_set(run, asked)
        print(f"{repo_id}: {run.category}, trained on {data.name}; licence of the weights: {data.license}")
        folders[repo_id] = output / repo_id.rpartition("/")[2] if asked.category == ALL else output
        examples = [example.replace("{category}", run.category) for example in asked.examples]
        write_repo_folder(run, Publication(repo_id, url, data), folders[repo_id], examples)
    if asked.category == ALL:
        folders[asked.repo_id] = output / asked.repo_id.rpartition("/")[2]
        _write_index(runs, asked, url, folders[asked.repo_id])
    return folders


def _write_index(runs: dict[str, FinishedRun], asked: Push, url: str, folder: Path) -> None:
    data_sets = {_data_set(run, asked) for run in runs.values()}
    if len(data_sets) > 1:
        raise ValueError(f"`{asked.run}` holds runs on {len(data_sets)} data sets; publish them one by one.")
    folder.mkdir()
    card = index_card(runs, Publication(asked.repo_id, url, data_sets.pop()))
    (folder / "README.md").write_text(card, encoding="utf-8")


def _data_set(run: FinishedRun, asked: Push) -> DataSet:
    return data_set_of(run.config.get("data", {}).get("path", ""), asked.dataset, asked.license)


def push(folders: dict[str, Path], private: bool) -> None:
    """Push each folder to its repository, in one commit each.

    Raises:
        ValueError: a repository that is public where a private one is asked for.
        OSError: the Hub refuses, or cannot be reached.
    """
    api = HfApi()
    for repo_id, folder in folders.items():
        url = create(repo_id, "model", private, api)
        changed = commit(folder, repo_id, "model", f"Publish {repo_id.rpartition('/')[2]}", api)
        print(f"{'Published' if changed else 'Unchanged'}: {url}")
