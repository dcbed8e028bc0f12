"""What the Hub has for the app: the models of an organisation, pictures to try a model with."""

import glob
import logging
from pathlib import Path

from huggingface_hub import HfApi, snapshot_download

from diffusionad.hub_errors import hub_errors
from diffusionad.image_io import IMAGE_SUFFIXES

logger = logging.getLogger(__name__)

TAG = "diffusionad"  # of our models

MAX_EXAMPLES, MAX_EXAMPLE_BYTES = 12, 5_000_000


def fetch_examples(name_or_path: str, folder: Path, token: str | bool | None = None) -> None:
    """Add pictures to try a model with to its local snapshot, in `examples/`; a model may have none.

    Args:
        name_or_path: as given to `find_folder`; a local folder holds its examples already.
        folder: what `find_folder` made of it.
        token: as given to `find_folder`.
    """
    if Path(name_or_path).is_dir():
        return
    commit = folder.name
    try:
        with hub_errors(f"`{name_or_path}`"):
            info = HfApi(token=token).model_info(
                name_or_path, revision=commit, files_metadata=True, timeout=10
            )
            # Anybody's repository may be shown: what is downloaded is bounded.
            names = sorted(
                file.rfilename
                for file in info.siblings
                if file.rfilename.startswith("examples/")
                and Path(file.rfilename).suffix.lower() in IMAGE_SUFFIXES
                and file.size <= MAX_EXAMPLE_BYTES
            )
            if names:
                snapshot_download(
                    name_or_path,
                    revision=commit,
                    token=token,
                    cache_dir=folder.parents[2],
                    allow_patterns=[glob.escape(name) for name in names[:MAX_EXAMPLES]],
                )
    except OSError as error:
        logger.info("No example pictures: %s", error)


def find_models(name: str, token: str | bool | None = None) -> list[str]:
    """The models that a name stands for: a folder and an id (org/name) for itself, a user or an organisation
    for all of theirs on the Hub, sorted.

    Raises:
        FileNotFoundError: no such folder, or there are none on the Hub.
        OSError: the Hub cannot be asked.
    """
    if Path(name).is_dir() or name.count("/") == 1:
        return [name]
    if "/" in name:
        raise FileNotFoundError(f"`{name}` is neither a folder nor the id of a repository (org/name).")
    with hub_errors(f"the list of models of `{name}`"):
        found = sorted(model.id for model in HfApi(token=token).list_models(author=name, filter=TAG))
    if not found:
        raise FileNotFoundError(
            f"`{name}` is no folder, and the Hub lists no model with the tag `{TAG}` of a user or "
            "organisation of that name; give a folder, an id (org/name) or an organisation."
        )
    return found
