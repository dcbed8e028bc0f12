"""The embedded models: trained on pictures that this project renders; a first verdict needs no download."""

import json
from pathlib import Path

from diffusionad.loading.fingerprint import pipeline_sha256

ASSETS = Path(__file__).parents[1] / "assets"


def demo_models() -> list[str]:
    """Names of the embedded models, sorted."""
    return sorted(path.parent.name for path in ASSETS.glob("*/model_index.json"))


def demo_model(name: str) -> str:
    """The folder of an embedded model, for `DiffusionADPipeline.from_pretrained`.

    Args:
        name: one of `demo_models()`.

    Returns:
        Its path; `examples/` inside holds pictures to try.

    Raises:
        ValueError: no model of that name.
    """
    if name not in demo_models():
        raise ValueError(
            f"`name` is {name!r}; use one of {', '.join(demo_models()) or 'none: no model is embedded'}."
        )
    return str(ASSETS / name)


def check_whole(folder: Path) -> None:
    """Check that the files of an embedded model are those that its figures were measured with.

    Raises:
        ValueError: a file was changed or damaged since.
    """
    metrics = folder / "metrics.json"
    if folder.resolve().parent != ASSETS.resolve() or not metrics.is_file():  # or it is being made
        return
    measured = json.loads(metrics.read_text(encoding="utf-8"))["pipeline_sha256"]
    if pipeline_sha256(folder) != measured:
        raise ValueError(
            f"the embedded model `{folder.name}` is not the one that its figures were measured with: a file "
            "was changed or damaged; install the package again."
        )
