"""What is the reconstruction worth? The segmenter, trained again with other second inputs.

    python -m training.studies.second_input --data FOLDER --model RUN/pipeline --output benchmarks/second_NAME

Each row trains a fresh segmenter for the same number of steps and tests it with the same second input: the
reconstruction of the run's UNet; the picture, blurred; the picture itself, which is no second input; and,
where the data set has clean twins, the twin, which is the most that any reconstruction could bring. Writes
NAME.json row by row, so that the same command continues a stopped study, and NAME.md.
"""

import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from diffusionad import AnomalySegmenter, DiffusionADPipeline
from diffusionad.cli.options import CannotRun, data_option, model_option, output_option, run
from diffusionad.files import replacing
from diffusionad.images.image_processor import ImageProcessor
from diffusionad.images.preparation import collect
from diffusionad.loading.pretrained import find_folder
from diffusionad.metric_labels import METRIC_LABELS
from diffusionad.postprocessing.postprocessor import Postprocessor

from ..config.loader import load_config
from ..config.schema import TrainConfig, with_optim
from ..data.catalog import Record, scan
from ..evaluation.accumulators import MetricAccumulator
from ..evaluation.metrics import METRICS
from ..evaluation.provenance import data_sha256, provenance
from ..run_guard import RunLock
from ..trainer.loop import TrainingLoop
from ..trainer.setup import set_up
from ..trainer.steps import Batch, denoise

RECONSTRUCTION, BLUR, PICTURE, TWIN = "reconstruction", "box blur", "the picture itself", "clean twin"
BLUR_SIDE = 13  # pixels


def blur(x: Tensor) -> Tensor:
    """Average each pixel of [N,C,S,S] over 13 x 13 neighbours."""
    padded = F.pad(x, [BLUR_SIDE // 2] * 4, mode="reflect")
    return F.avg_pool2d(padded, BLUR_SIDE, stride=1)


class SecondInputLoop(TrainingLoop):
    """A training in two phases whose segmenter compares pictures with another second input."""

    second_input: Callable[[Batch], Tensor]

    def _reconstruct(self, batch: Batch) -> Batch:
        with torch.no_grad():
            return {"x_0_hat": self.second_input(batch)}


def train_segmenter(config: TrainConfig, kind: str, pipeline: DiffusionADPipeline) -> AnomalySegmenter:
    """Train a fresh segmenter with a second input; return its moving average.

    Args:
        config: of a training in two phases with `optim.repair`; its first phase is skipped.
        kind: the second input.
        pipeline: whose UNet reconstructs.
    """

    def second_input(batch: Batch) -> Tensor:
        if kind == RECONSTRUCTION:
            return denoise(batch, pipeline.unet, pipeline.scheduler, config).x_0_hat
        return {BLUR: blur(batch["x_0"]), PICTURE: batch["x_0"], TWIN: batch["clean"]}[kind]

    with tempfile.TemporaryDirectory() as folder, RunLock(Path(folder)) as lock:
        loop = SecondInputLoop(set_up(config, Path(folder), False, lock), resume=False)
        loop.second_input = second_input
        loop.run()
    segmenter: Any = loop.state.ema_segmenter.module
    return segmenter.float().eval()


@torch.no_grad()
def measure(
    pipeline: DiffusionADPipeline, segmenter: AnomalySegmenter, kind: str, records: list[Record]
) -> dict[str, Any]:
    """Test a segmenter with its second input on pictures as the pipeline sees them; return the metrics."""
    processor = ImageProcessor.from_config(pipeline.config)
    postprocess, accumulator = Postprocessor(pipeline.settings(), None), MetricAccumulator()
    [noise, *_] = pipeline._draw_noise(pipeline.settings(), None)
    for record in tqdm(records, desc=kind, unit="picture", disable=None):
        picture = processor.prepare(record.image)
        twin = processor.prepare(record.clean) if record.clean is not None else picture
        for i in range(len(picture.tiled)):
            x_0 = processor.to_tensor([picture.tiled.tile(i)], torch.device("cpu"))
            if kind == RECONSTRUCTION:
                second = pipeline._reconstruct(x_0, noise, pipeline.settings())
            elif kind == TWIN:
                second = processor.to_tensor([twin.tiled.tile(i)], torch.device("cpu"))
            else:
                second = blur(x_0) if kind == BLUR else x_0
            anomaly_map = torch.sigmoid(segmenter(x_0, second).float())[:, 0].numpy()
            collect([(picture, i)], anomaly_map, processor.to_array(second))
        found = postprocess(picture.tiled.anomaly_map, picture.size, picture.tiled)
        accumulator.add(record, found.score, found.anomaly_map, found.is_anomalous)
    metrics = accumulator.metrics()
    return {name: metrics[name] for name in METRICS if name in metrics} | {
        "per_defect": {name: row["image_auroc"]["value"] for name, row in metrics["per_defect"].items()}
    }


def study(model: str, data: str, preset: str, steps: int, seed: int, path: Path) -> dict[str, Any]:
    """Measure every second input whose row `path` lacks, and write each row as soon as it is measured.

    Raises:
        ValueError: no test pictures, or rows of another pipeline or other pictures in `path`.
        FileNotFoundError: data or model do not exist.
    """
    records = scan(data).test
    if not records:
        raise ValueError(f"`{data}` has no test pictures; put them into `test/good` and `test/<defect>`.")
    folder = find_folder(model)
    pipeline = DiffusionADPipeline.from_pretrained(folder, feature_memory=None, mark_memory=None)
    config = load_config(preset, ["model.pretrained_features=none", "optim.repair=true", "log.validations=1"])
    config = replace(config, data=replace(config.data, path=data))
    phases = {"unet_share": 0.5, "unet_steps": 1, "max_steps": steps + 1, "max_minutes": 0.0, "seed": seed}
    config = with_optim(config, **phases)
    report: dict[str, Any] = {**provenance(pipeline, folder), "data_sha256": data_sha256(records)}
    report |= {"steps": steps, "seed": seed, "rows": {}}
    if path.is_file():
        stored = json.loads(path.read_text(encoding="utf-8"))
        if any(stored[key] != report[key] for key in ("data_sha256", "pipeline_sha256", "steps", "seed")):
            raise ValueError(
                f"`{path}` holds rows of another model, data or length; choose another --output."
            )
        report["rows"] = stored["rows"]
    has_twins = any(record.clean for record in records)
    for kind in (RECONSTRUCTION, BLUR, PICTURE, *([TWIN] if has_twins else [])):
        if kind in report["rows"]:
            continue
        report["rows"][kind] = measure(pipeline, train_segmenter(config, kind, pipeline), kind, records)
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial:
            partial.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return report


def markdown(rows: dict[str, dict[str, Any]]) -> str:
    """Return a Markdown table with a line a second input, image AUROC by kind of defect last."""
    defects = list(next(iter(rows.values()))["per_defect"])
    head = ["second input", *(METRIC_LABELS[m].label for m in METRICS), *defects]
    lines = [head, ["---"] + ["--:"] * (len(head) - 1)]
    for kind, row in rows.items():
        cells = [f"{100 * row[m]['value']:.1f}" if m in row else "-" for m in METRICS]
        lines.append([kind, *cells, *(f"{100 * row['per_defect'][d]:.1f}" for d in defects)])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


@click.command("second-input")
@data_option("Data set with a test split.")
@model_option()
@output_option("Base name of the results: NAME.json and NAME.md.")
@click.option("--preset", default="tiny", show_default=True, help="Preset or TOML file of the segmenter.")
@click.option("--max-steps", default=2000, show_default=True, help="Steps of each segmenter.")
@click.option("--seed", default=0, show_default=True, help="Seed of everything that is drawn.")
def second_input_command(data: str, model: str, output: Path, preset: str, max_steps: int, seed: int) -> None:
    """Measure what the reconstruction is worth to the segmenter."""
    try:
        report = study(model, data, preset, max_steps, seed, output.with_suffix(".json"))
    except (ValueError, FileNotFoundError) as error:
        raise CannotRun(str(error)) from error
    table = markdown(report["rows"])
    output.with_suffix(".md").write_text(table, encoding="utf-8")
    click.echo(table, nl=False)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    return run(second_input_command, arguments, "python -m training.studies.second_input")


if __name__ == "__main__":
    sys.exit(main())
