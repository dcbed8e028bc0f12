"""What the app asks the Hub for: the models of an organisation; of a model, its figures and examples."""

import glob
import logging
from pathlib import Path

from huggingface_hub import HfApi, snapshot_download

from diffusionad.images.image_io import IMAGE_SUFFIXES, is_hidden
from diffusionad.loading.hub_errors import hub_errors

logger = logging.getLogger(__name__)

TAG = "diffusionad"  # of our models

MAX_EXAMPLES, MAX_EXTRA_BYTES = 12, 5_000_000


def fetch_extras(name_or_path: str, folder: Path, token: str | bool | None = None) -> None:
    """Add to the local snapshot of a model its figures and pictures to try it with, if it has any.

    They become `metrics.json` and `examples/` of the folder.

    Args:
        name_or_path: as given to `find_folder`; a local folder holds them already.
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
            files = info.siblings or []
            small = sorted(file.rfilename for file in files if (file.size or 0) <= MAX_EXTRA_BYTES)
            visible = (name for name in small if not is_hidden(Path(name)))
            examples = [name for name in visible if name.startswith("examples/")]
            examples = [name for name in examples if Path(name).suffix.lower() in IMAGE_SUFFIXES]
            names = [*examples[:MAX_EXAMPLES], *({"metrics.json"} & {*small})]
            if names:
                snapshot_download(
                    name_or_path,
                    revision=commit,
                    token=token,
                    cache_dir=folder.parents[2],
                    allow_patterns=[glob.escape(name) for name in names],
                )
    except OSError as error:
        logger.info("No figures and examples: %s", error)


def find_models(name: str, token: str | bool | None = None) -> list[str]:
    """Return the models that a name stands for, sorted.

    A folder and an id (org/name) stand for themselves, a user or an organisation for all of its models.

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
