"""The folder that becomes a model's repository: all its files, from a run, before anything is pushed."""

import dataclasses
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from safetensors.torch import load_file, save_file

from diffusionad import DiffusionADPipeline
from diffusionad.images.image_io import find_images, read_image
from diffusionad.loading.fingerprint import WEIGHTS, pipeline_sha256
from diffusionad.loading.hub_models import MAX_EXAMPLES, MAX_EXTRA_BYTES

from .model_card import Publication, model_card
from .push_options import check_empty
from .run import FinishedRun, config_without_folders
from .standalone_code import write_standalone_code

HALF = "diffusion_pytorch_model.fp16.safetensors"
PANEL = "panel.png"

# The one drawing of an evaluation that shows no picture of the data; their owner is not known here.
SCORES = "figures/scores.png"


def write_repo_folder(
    run: FinishedRun, publication: Publication, output: Path, examples: Sequence[str] = ()
) -> None:
    """Write weights in fp32 and fp16, configs, standalone code, figures, settings, examples, and the card.

    Args:
        run: the run to publish.
        publication: what the card says; its pictures are filled in here.
        output: a folder that does not exist, or is empty.
        examples: pictures to publish, files or folders; names that begin with "good" are of good parts.

    Raises:
        ValueError: `output` is not empty, an example cannot be used, or the model has to be saved again.
    """
    check_empty(output)
    _copy_pipeline(run, output)
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


def _copy_pipeline(run: FinishedRun, output: Path) -> None:
    """Copy model_index.json, and configs and weights of each component, in both precisions."""
    if json.loads((run.pipeline / "segmenter/config.json").read_text(encoding="utf-8")).get("known_marks"):
        raise ValueError(
            f"`{run.pipeline}` keeps known marks in its segmenter, as models before version 0.2 did; load "
            "it, save it again with `save_pretrained`, and measure it again."
        )
    for name in run.components:
        (output / name).mkdir(parents=True)
        for path in [*(run.pipeline / name).glob("*config.json"), run.pipeline / name / WEIGHTS]:
            if path.is_file():
                shutil.copyfile(path, output / name / path.name)
        if (output / name / WEIGHTS).is_file():
            _write_half(output / name / WEIGHTS)
    # A setting of pipelines before version 0.2, which said nothing without known marks.
    index = {name: value for name, value in run.settings.items() if name != "mark_similarity"}
    (output / "model_index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def _write_half(path: Path) -> None:
    """Write the fp16 variant beside the weights; integers, such as signatures of marks, stay as they are."""
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


def _write_examples(run: FinishedRun, examples: Sequence[str], output: Path) -> str | None:
    """Write PNGs without the camera's metadata, such as the place, and the picture of a detection."""
    paths = find_images([*examples]) if examples else []
    if not paths:
        return None
    if len(paths) > MAX_EXAMPLES or len({path.stem for path in paths}) < len(paths):
        raise ValueError(f"`--examples`: give at most {MAX_EXAMPLES} pictures, with different names.")
    pipeline: Any = DiffusionADPipeline.from_pretrained(run.pipeline)
    bit_depth = pipeline.config.bit_depth
    (output / "examples").mkdir()
    for path in paths:
        copy = output / "examples" / f"{path.stem}.png"
        pixels = read_image(path, bit_depth=bit_depth)
        Image.fromarray((pixels * 255).round().astype(np.uint8)).save(copy, optimize=True)
        if copy.stat().st_size > MAX_EXTRA_BYTES:
            raise ValueError(f"`--examples`: `{path}` is too large; shrink it first.")
    shown = next((path for path in paths if not path.stem.startswith("good")), paths[0])
    pipeline(shown)[0].panel().save(output / PANEL, optimize=True)
    return PANEL


def describe(folder: Path) -> str:
    """Return the files of a folder with their sizes, a line each."""
    sizes = {p.relative_to(folder).as_posix(): p.stat().st_size for p in folder.rglob("*") if p.is_file()}
    sizes = dict(sorted(sizes.items())) | {"all": sum(sizes.values())}
    width = max(map(len, sizes))
    return "\n".join(f"  {name:{width}}  {_size(size):>9}" for name, size in sizes.items())


def _size(n: int) -> str:
    return f"{n / 1e6:.1f} MB" if n >= 1e6 else f"{n / 1e3:.1f} kB"
