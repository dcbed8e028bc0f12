"""Export of a pipeline: graphs, settings beside them, and the proof that both say the same."""

import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

import diffusionad
from diffusionad.deploy.about import ABOUT, NETWORKS
from diffusionad.deploy.exported import ExportedPipeline
from diffusionad.deploy.graph import write_onnx
from diffusionad.deploy.parity import Parity, compare
from diffusionad.deploy.runtimes import FORMATS, PRECISIONS, check_installed
from diffusionad.files import file_sha256, replacing
from diffusionad.images.image_io import read_image
from diffusionad.pipeline import DiffusionADPipeline
from diffusionad.postprocessing.fusion import MAPS

PARITY = "parity.json"


def export(
    pipeline: DiffusionADPipeline,
    output: Path,
    pictures: list[Path],
    format: str = "onnx",
    precision: str = "fp32",
    pipeline_sha256: str | None = None,
    damaged: Sequence[np.ndarray] = (),
) -> Parity:
    """Export a pipeline, compare both on pictures, and keep the export only where no verdict differs.

    Args:
        pipeline: on a CPU, in float32, with one step and without a `MarkMemory`.
        output: folder that does not exist yet.
        pictures: files of good parts that both inspect.
        format: "onnx" or "openvino".
        precision: "fp32"; with OpenVINO also "bf16", or "int8", which is quantised on the pictures.
        pipeline_sha256: hash of the saved pipeline, to be kept with the export.
        damaged: uint8 [H,W,3], copies of the pictures with a defect each; needed for "int8", which must tell
            them from the pictures as well as the pipeline does.

    Returns:
        What differs.

    Raises:
        ValueError: a pipeline, format or precision that cannot be exported; a picture that cannot be read; or
            verdicts that differ by more than the precision explains. Nothing is left behind.
    """
    check_exportable(pipeline, format, precision)
    if precision == "int8" and not damaged:
        raise ValueError("`damaged` is empty; int8 needs copies of the pictures with defects.")
    if not pictures:
        raise ValueError("`pictures` is empty; name real pictures on which pipeline and export are compared.")
    for picture in pictures:  # before a graph is made, which takes half a minute
        read_image(picture, bit_depth=pipeline.config.bit_depth)
    if output.exists():
        raise ValueError(f"`{output}` exists; choose another folder.")
    output.parent.mkdir(parents=True, exist_ok=True)
    with replacing(output) as partial:
        partial.mkdir()
        _write(pipeline, partial, format, precision, pipeline_sha256, [*pictures, *damaged])
        parity = compare(pipeline, ExportedPipeline(partial), pictures, damaged)
        parity.check(precision)
        (partial / PARITY).write_text(json.dumps(parity.to_dict(), indent=1) + "\n", encoding="utf-8")
    return parity


def _write(
    pipeline: DiffusionADPipeline,
    folder: Path,
    format: str,
    precision: str,
    pipeline_sha256: str | None,
    pictures: Sequence[Path | np.ndarray],
) -> None:
    """Write graphs and exported.json into a folder; int8 is quantised on the pictures."""
    names = write_onnx(pipeline, folder)
    if format == "openvino":
        names = _to_openvino(folder, names)
    about: dict[str, Any] = {
        "format": format,
        "precision": precision,
        "diffusionad": diffusionad.__version__,
        "pipeline_sha256": pipeline_sha256,
        "graphs": dict.fromkeys(names),
        "settings": pipeline.settings(),
        "features": _features(pipeline),
    }
    _write_about(folder, about)
    if precision == "int8":
        from diffusionad.deploy.quantization import quantize

        quantize(ExportedPipeline(folder), folder / f"{NETWORKS}.xml", pictures)
        _write_about(folder, about)


def _write_about(folder: Path, about: dict[str, Any]) -> None:
    """Write exported.json, with the hashes of the graphs as they are."""
    about["graphs"] = {name: file_sha256(folder / name) for name in about["graphs"]}
    (folder / ABOUT).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def check_exportable(pipeline: DiffusionADPipeline, format: str, precision: str) -> None:
    """Raise a ValueError that says why a pipeline cannot be exported so, and what to do."""
    if format not in FORMATS:
        raise ValueError(f"`format` is {format!r}; use one of {', '.join(FORMATS)}.")
    if precision not in PRECISIONS:
        raise ValueError(f"`precision` is {precision!r}; use one of {', '.join(PRECISIONS)}.")
    if format == "onnx" and precision != "fp32":
        raise ValueError(f"`precision` is {precision!r}, but ONNX Runtime computes in fp32; use openvino.")
    check_installed("onnx" if format == "onnx" else "openvino")
    if precision == "int8" and find_spec("nncf") is None:
        raise ValueError("`nncf` is not installed; pip install 'diffusionad[export]'.")
    if pipeline.config.num_inference_steps > 1:
        raise ValueError(
            f"`num_inference_steps` is {pipeline.config.num_inference_steps}; only one step is exported: "
            "`configure(num_inference_steps=1)`, and calibrate again."
        )
    if pipeline.mark_memory is not None:
        raise ValueError(
            "`mark_memory` is not exported; load the pipeline with `mark_memory=None`, and calibrate again."
        )


def _features(pipeline: DiffusionADPipeline) -> dict[str, Any] | None:
    """Return what joins the maps, as far as it lies outside of the graph."""
    memory = pipeline.feature_memory
    if memory is None:
        return None
    names = ["shorter_side", "weights", *(f"{name}_range" for name in MAPS)]
    return {name: memory.config[name] for name in names}


def _to_openvino(folder: Path, names: list[str]) -> list[str]:
    """Turn ONNX graphs into OpenVINO's, each an .xml and a .bin; return their names."""
    import openvino

    written = []
    for name in names:
        stem = Path(name).stem
        model = openvino.convert_model(str(folder / name))
        openvino.save_model(model, str(folder / f"{stem}.xml"), compress_to_fp16=False)
        (folder / name).unlink()
        written += [f"{stem}.xml", f"{stem}.bin"]
    return written
