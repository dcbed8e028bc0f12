"""The embedded models: trained on pictures that this project renders; a first verdict needs no download."""

from pathlib import Path

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
