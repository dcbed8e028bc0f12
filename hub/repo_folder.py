"""The folder that becomes a model's repository: everything of it, from a run, before anything is pushed."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.torch import load_file, save_file

from diffusionad import DiffusionADPipeline
from diffusionad.images.image_io import find_images, read_image
from diffusionad.inspection.panel import panel
from diffusionad.inspection.results import verdicts_of
from diffusionad.loading.fingerprint import WEIGHTS, pipeline_sha256
from diffusionad.loading.hub_models import MAX_EXAMPLES, MAX_EXTRA_BYTES
from diffusionad.loading.pretrained import CONFIGS

from .model_card import Publication, model_card
from .run import FinishedRun, config_without_folders
from .standalone_code import write_standalone_code

HALF = "diffusion_pytorch_model.fp16.safetensors"
PANEL = "panel.png"

# Of the drawings of an evaluation, one that shows no picture of the data: whose those are is not known here.
SCORES = "figures/scores.png"


def write_repo_folder(
    run: FinishedRun, publication: Publication, output: Path, examples: list[str] = ()
) -> None:
    """Weights in fp32 and fp16, configs, the standalone code, figures, settings, examples, and the card.

    Args:
        run: what is published.
        publication: what the card says; its pictures are filled in here.
        output: a folder that does not exist, or is empty.
        examples: pictures to publish, files or folders; names that begin with "good" are of good parts.

    Raises:
        ValueError: `output` is not empty, or an example cannot be used.
    """
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ValueError(f"`--output`: `{output}` is not empty; choose another folder.")
    weights = [f"{part}/{WEIGHTS}" for part in ("unet", "segmenter")]
    for name in (*CONFIGS, *weights):
        (output / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(run.pipeline / name, output / name)
    for name in weights:
        _write_half(output / name)
    write_standalone_code(output)
    (output / "metrics.json").write_text(json.dumps(run.metrics, indent=2) + "\n", encoding="utf-8")
    if run.config:
        (output / "config.toml").write_text(config_without_folders(run.folder), encoding="utf-8")
    publication = dataclasses.replace(
        publication,
        panel=_write_examples(run, examples, output),
        score_figure=_copy_score_figure(run, output),
    )
    (output / "README.md").write_text(model_card(run, publication), encoding="utf-8")
    assert pipeline_sha256(output) == run.metrics["pipeline_sha256"], "the figures are of other weights"


def _write_half(path: Path) -> None:
    """The fp16 variant beside the weights."""
    weights = {name: t.half() if t.is_floating_point() else t for name, t in load_file(path).items()}
    for name, tensor in weights.items():
        if not tensor.isfinite().all():
            raise ValueError(f"`{path.parent.name}`: `{name}` is not finite in fp16; train it anew.")
    save_file(weights, path.with_name(HALF), metadata={"format": "pt"})


def _copy_score_figure(run: FinishedRun, output: Path) -> str | None:
    if not (run.folder / SCORES).is_file():
        return None
    (output / SCORES).parent.mkdir()
    shutil.copyfile(run.folder / SCORES, output / SCORES)
    return SCORES


def _write_examples(run: FinishedRun, examples: list[str], output: Path) -> str | None:
    """PNGs without what cameras write into pictures, such as the place; and the picture of a detection."""
    paths = find_images(examples) if examples else []
    if not paths:
        return None
    if len(paths) > MAX_EXAMPLES or len({path.stem for path in paths}) < len(paths):
        raise ValueError(f"`--examples`: give at most {MAX_EXAMPLES} pictures, with different names.")
    (output / "examples").mkdir()
    for path in paths:
        copy = output / "examples" / f"{path.stem}.png"
        Image.fromarray((read_image(path) * 255).round().astype(np.uint8)).save(copy, optimize=True)
        if copy.stat().st_size > MAX_EXTRA_BYTES:
            raise ValueError(f"`--examples`: `{path}` is too large; shrink it first.")
    shown = next((path for path in paths if not path.stem.startswith("good")), paths[0])
    pipeline = DiffusionADPipeline.from_pretrained(run.pipeline)
    result = pipeline(shown)
    verdict = verdicts_of(result, pipeline.config.calibration)[0]
    parts = result.reconstruction[0], result.anomaly_map[0], result.mask[0]
    panel(read_image(shown), *parts, verdict).save(output / PANEL, optimize=True)
    return PANEL


def describe(folder: Path) -> str:
    """Its files with their sizes, a line each."""
    sizes = {p.relative_to(folder).as_posix(): p.stat().st_size for p in folder.rglob("*") if p.is_file()}
    sizes = dict(sorted(sizes.items())) | {"all": sum(sizes.values())}
    width = max(map(len, sizes))
    return "\n".join(f"  {name:{width}}  {_size(size):>9}" for name, size in sizes.items())


def _size(n: int) -> str:
    return f"{n / 1e6:.1f} MB" if n >= 1e6 else f"{n / 1e3:.1f} kB"
