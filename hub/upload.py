"""A folder as the content of a repository on the Hub, in one commit or in none."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, HTTPError
from huggingface_hub.hf_api import RepoSibling

from diffusionad.loading.components import COMPONENTS
from diffusionad.loading.hub_errors import first_line

# Where one of several uploads loses its connection, the Hub's client closes all, and may so break another
# upload. It makes new ones at the next try, which sends only what has not arrived.
CLOSED_CLIENT_TRIES = 3

# Files that an earlier push may have left and this one does not write again; all others in a repository stay.
OURS = (
    *(f"{name}/" for name in COMPONENTS),
    *("examples/", "figures/", "panel.png", "config.toml", "diffusionad/"),
)


def create(repo_id: str, repo_type: str, private: bool, api: HfApi, space_sdk: str | None = None) -> str:
    """Make the repository if there is none.

    Args:
        repo_id: "org/name".
        repo_type: "model" or "space".
        private: for a repository that is made now; an existing one has to be private already.
        api: of the Hub, with a token.
        space_sdk: of a Space, such as "gradio".

    Returns:
        Its address.

    Raises:
        ValueError: the name, or a repository that everybody sees where a private one is asked for.
        OSError: the Hub refuses, or cannot be reached.
    """
    with push_errors(repo_id):
        url = api.create_repo(
            repo_id, repo_type=repo_type, private=private, exist_ok=True, space_sdk=space_sdk
        )
        if private and not api.repo_info(repo_id, repo_type=repo_type).private:
            raise ValueError(
                f"`--private`: `{repo_id}` exists, and everybody sees it; choose another name, or make it "
                "private in its settings on the Hub first."
            )
    return str(url)


def commit(folder: Path, repo_id: str, repo_type: str, title: str, api: HfApi) -> bool:
    """Bring a repository to the state of a folder in a single commit, or in none where nothing changed.

    It never shows half of it: large files are stored first, and the commit that shows them comes last. After
    an interruption the same call goes on: what is stored already is not sent again. (The client's own
    `upload_folder` may spread a folder over several commits.)

    Args:
        folder: its files replace those of the same names.
        repo_id: "org/name".
        repo_type: "model" or "space".
        title: of the commit.
        api: of the Hub, with a token.

    Returns:
        Whether anything changed.

    Raises:
        OSError: the Hub refuses, or cannot be reached.
    """
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    with push_errors(repo_id):
        before = api.repo_info(repo_id, repo_type=repo_type)
        siblings: Iterable[RepoSibling] = getattr(before, "siblings", None) or ()
        old = [file.rfilename for file in siblings if file.rfilename.startswith(OURS)]
        for tries_left in reversed(range(CLOSED_CLIENT_TRIES)):
            deletions = (CommitOperationDelete(name) for name in old if name not in files)
            additions = (CommitOperationAdd(name, path) for name, path in sorted(files.items()))
            try:
                after = api.create_commit(
                    repo_id,
                    repo_type=repo_type,
                    operations=[*deletions, *additions],
                    commit_message=title,
                )
                break
            except RuntimeError as error:
                if not tries_left or "client has been closed" not in str(error.__cause__ or error):
                    raise
    return after.oid != before.sha


@contextmanager
def push_errors(repo_id: str) -> Iterator[None]:
    """Turn what the Hub's client raises while pushing into one sentence that says what to do."""
    try:
        yield
    except HFValidationError as error:
        raise ValueError(
            f"`--repo-id` is {repo_id!r}, which is no name for a repository: {first_line(error)}."
        ) from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        advice = "run the same command again"
        if status == 401:
            advice = "log in with `hf auth login`, with a token that may write"
        elif status == 402:
            advice = "the Hub asks for payment for this kind of Space; choose the hardware cpu-basic"
        elif status == 403:
            advice = f"your token may not write to `{repo_id}`; take one that may, or a name of your own"
        raise OSError(f"The Hub refused `{repo_id}` ({status}: {_gist(error)}); {advice}.") from error
    except (HTTPError, RuntimeError) as error:  # RuntimeError: one of several uploads at the same time
        raise OSError(
            f"The push to `{repo_id}` broke off ({first_line(error.__cause__ or error)}); run the same "
            "command again, what has arrived is not sent again."
        ) from error


def _gist(error: HfHubHTTPError) -> str:
    return (error.server_message or first_line(error)).strip().rstrip(".")
