"""`diffusionad export`: a model to a graph that runs without torch, with the proof that it says the same."""

import importlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from diffusionad.cli.options import CannotRun, model_option, one_line, output_option

if TYPE_CHECKING:
    import numpy as np

EPILOG = """\
\b
Examples:
  diffusionad export --model runs/bolt/pipeline --output bolt.onnx
  diffusionad export --model runs/bolt/pipeline --format openvino --precision bf16 --output bolt-bf16
  diffusionad export --model runs/bolt/pipeline --format openvino --precision int8 --output bolt-int8
  diffusionad inspect photos/ --model bolt.onnx --output report

\b
Written to the output folder:
  networks.onnx, distances.onnx   the graphs (.xml and .bin for OpenVINO); the second for a feature memory
  exported.json                   settings, threshold and calibration, which lie outside of the graphs
  parity.json                     what differed between the model and its export
"""
PICTURES = 24  # of a run's own that are compared


@click.command("export", epilog=EPILOG, context_settings={"max_content_width": 110})
@model_option()
@click.option("--format", type=click.Choice(("onnx", "openvino")), default="onnx", show_default=True)
@click.option(
    "--precision",
    type=click.Choice(("fp32", "bf16", "int8")),
    default="fp32",
    show_default=True,
    help="In which the graphs are computed; bf16 and int8 with openvino.",
)
@click.option(
    "--pictures",
    type=click.Path(path_type=Path, exists=True),
    help="Folder of good pictures on which model and export are compared. Default: those that the run was "
    "calibrated with, or the examples of an embedded model.",
)
@output_option("Folder of the export.")
def export_command(model: str, format: str, precision: str, pictures: Path | None, output: Path) -> None:
    """Export a model to ONNX or OpenVINO, and compare both on real pictures.

    Nothing is kept where a verdict differs by more than the precision explains.
    """
    from diffusionad.cli.model import model_source
    from diffusionad.deploy.export import export
    from diffusionad.images.image_io import find_images
    from diffusionad.loading.fingerprint import pipeline_sha256
    from diffusionad.loading.pretrained import find_folder
    from diffusionad.pipeline import DiffusionADPipeline

    try:
        folder = find_folder(model_source(model))
        pipeline = DiffusionADPipeline.from_pretrained(folder)
        compared = pictures_of(folder) if pictures is None else find_images([pictures])
        copies = damaged(compared, pipeline.config.bit_depth) if precision == "int8" else []
        parity = export(pipeline, output, compared, format, precision, pipeline_sha256(folder), copies)
    except (OSError, ValueError) as error:
        raise CannotRun(one_line(error)) from error
    click.echo(
        f"{output}: {parity.pictures} pictures compared, no verdict differs beyond the margin; maps differ "
        f"by {parity.map_difference:.2g}, scores by {parity.score_difference:.2g} at most."
    )
    if parity.auroc_loss is not None:
        click.echo(f"Image AUROC on copies with a defect: {0 - parity.auroc_loss:+.4f}.")


def damaged(pictures: list[Path], bit_depth: int | None) -> list["np.ndarray"]:
    """Return copies of pictures, uint8 [H,W,3], with a dot each that a person would see."""
    from diffusionad.cli.main import importable
    from diffusionad.images.image_io import read_image

    graded = importlib.import_module(importable("training.certificate.graded"))
    copies = (graded.with_dot(read_image(picture, bit_depth=bit_depth)) for picture in pictures)
    return [copy for copy in copies if copy is not None]


def pictures_of(folder: Path) -> list[Path]:
    """Return pictures that a model can be compared on: its examples, or those that calibrated its run.

    Raises:
        ValueError: there are none.
    """
    from diffusionad.images.image_io import find_images

    splits = folder.parent / "splits.json"
    if (folder / "examples").is_dir():
        return find_images([folder / "examples"])
    if splits.is_file():
        listed = json.loads(splits.read_text(encoding="utf-8"))
        files = [Path(entry["file"]) for name in ("calibration", "validation") for entry in listed[name]]
        found = [file for file in files if file.is_file()][:PICTURES]
        if found:
            return found
    raise ValueError("name pictures on which model and export are compared: --pictures FOLDER.")
