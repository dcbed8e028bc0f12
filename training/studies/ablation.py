"""Ablation: what each part of the method contributes, measured on a trained pipeline.

    python -m training.studies.ablation --model RUN/pipeline --data FOLDER --output benchmarks/ablation_NAME
    python -m training.studies.ablation ... --study steps --study guidance --per-kind 4
    python -m training.studies.ablation ... --study losses --preset RUN/config.toml --max-minutes 10

Writes NAME.json, NAME.md and plots. Each row is written as soon as it is measured, so the same command
continues a stopped run. The studies "synthesis" and "losses" train new pipelines and run only when named.
"""

import itertools
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import torch

from diffusionad import DiffusionADPipeline
from diffusionad.cli.options import CannotRun, data_option, model_option, output_option, run
from diffusionad.files import replacing
from diffusionad.guidance import alpha_bar_at
from diffusionad.loading.pretrained import find_folder

from ..data.catalog import Record, scan
from ..evaluation.evaluator import evaluate, segmenter_sees_the_picture_twice
from ..evaluation.metrics import LOCALISATION_METRICS
from ..evaluation.provenance import data_sha256, provenance
from ..synthesis.anomalies import FAMILIES
from .ablation_report import write_plots, write_report

METRICS = ("image_auroc", "image_ap", "pixel_auroc", "pixel_ap", "aupro", *LOCALISATION_METRICS)
STEPS = (1, 2, 5, 10, 25, 50)
WEIGHTS = (0.0, 0.5, 1.0, 2.0)
GRID = tuple(itertools.product((100, 200, 300, 400), (400, 500), (0.0, 1.0, 2.0)))
NOISE_SAMPLES = (1, 2, 4, 8)
SEEDS = (0, 1, 2, 3, 4)

Variant = tuple[str, dict[str, Any]]  # label of a row, and the settings that it changes


def setting_studies(pipeline: DiffusionADPipeline) -> dict[str, list[Variant]]:
    """Return the studies that change settings of the pipeline, each with its variants."""
    config = pipeline.config
    alpha_bar = alpha_bar_at(pipeline.scheduler.alphas_cumprod, config.t_fine, torch.zeros(1)).item()
    # Guidance blends with weight w (1 - alpha_bar): this w leaves the coarse prediction alone.
    coarse_only = 1 / (1 - alpha_bar)
    steps = [n for n in STEPS if n <= config.t_coarse]
    # Without guidance the coarse scale has no effect: one row is enough.
    grid = [(f, c, w) for f, c, w in GRID if f < c and (w > 0 or c == max(c for _, c, _ in GRID))]
    names = ("t_fine", "t_coarse", "guidance_weight")
    return {
        "steps": [
            ("one norm-guided step" if n == 1 else f"{n} DDPM steps", {"num_inference_steps": n})
            for n in steps
        ],
        "guidance": [
            *((f"w = {w:g}" + " (fine only)" * (w == 0), {"guidance_weight": w}) for w in WEIGHTS),
            (f"w = {coarse_only:.3g} (coarse only)", {"guidance_weight": coarse_only}),
        ],
        "grid": [(f"{f}, {c}, w = {w:g}", dict(zip(names, (f, c, w), strict=True))) for f, c, w in grid],
        "noise": [(f"{n} draw{'s' * (n > 1)}", {"num_noise_samples": n}) for n in NOISE_SAMPLES],
        "seeds": [(f"seed {seed}", {"seed": seed}) for seed in SEEDS],
    }


RETRAINING: dict[str, list[tuple[str, str]]] = {
    "synthesis": [
        *((f"{family} alone", f'synthesis.families=["{family}"]') for family in FAMILIES),
        ("all families", f"synthesis.families={json.dumps(FAMILIES)}"),
    ],
    "losses": [(kind, f'optim.segmentation_loss="{kind}"') for kind in ("paper", "bce_dice")],
}
NETWORK_STUDIES = ("input", "dtype")  # they change the input or the dtype of the networks
STUDIES = ("steps", "guidance", "grid", "noise", "seeds", *NETWORK_STUDIES)


def load_networks_alone(model: Path, dtype: torch.dtype = torch.float32) -> DiffusionADPipeline:
    """Load a pipeline without its memories: they were learnt with the settings that the studies vary."""
    return DiffusionADPipeline.from_pretrained(model, dtype=dtype, feature_memory=None, mark_memory=None)


class Ablation:
    """Rows of all studies, kept in a file from which a stopped run continues.

    Args:
        model: folder of the pipeline.
        records: pictures to measure on.
        path: JSON file of the rows.

    Raises:
        ValueError: the file holds rows of another pipeline or of other pictures.
    """

    def __init__(self, model: Path, records: list[Record], path: Path):
        self.model, self.records, self.path = model, records, path
        self.pipeline = load_networks_alone(model)
        about = {"data_sha256": data_sha256(records), "n": len(records), **provenance(self.pipeline, model)}
        commands, rows = [about.pop("command")], []
        if path.is_file():
            stored = json.loads(path.read_text(encoding="utf-8"))
            if any(stored[key] != about[key] for key in ("data_sha256", "pipeline_sha256")):
                raise ValueError(
                    f"`{path}` holds rows of another pipeline or of other pictures; choose another --output."
                )
            rows = stored["rows"]
            commands = list(dict.fromkeys([*stored["commands"], *commands]))
        self.report: dict[str, Any] = {"commands": commands, **about, "rows": rows}

    def run(self, study: str, data: str, preset: str, minutes: float) -> None:
        """Measure the missing rows of a study.

        Args:
            study: one of `STUDIES` or `RETRAINING`.
            data: data set of the studies that train.
            preset: preset or TOML file of the studies that train.
            minutes: training time of each of their rows.
        """
        if study in RETRAINING:
            self._run_retraining(study, data, preset, minutes)
        elif study == "input":
            self._measure(study, "picture and reconstruction", self.pipeline)
            with segmenter_sees_the_picture_twice(self.pipeline):
                self._measure(study, "the picture twice", self.pipeline)
        elif study == "dtype":
            for dtype in (torch.float32, torch.bfloat16):
                pipeline = load_networks_alone(self.model, dtype)
                self._measure(study, str(dtype).removeprefix("torch."), pipeline)
        else:
            self._run_settings(study)

    def _run_retraining(self, study: str, data: str, preset: str, minutes: float) -> None:
        for label, override in RETRAINING[study]:
            if not self._has(study, label):
                with tempfile.TemporaryDirectory() as folder:
                    run_folder = train_again(data, preset, override, minutes, Path(folder, "run"))
                    self._measure(study, label, load_networks_alone(run_folder / "pipeline"))

    def _run_settings(self, study: str) -> None:
        for label, settings in setting_studies(self.pipeline)[study]:
            saved = {name: self.pipeline.config[name] for name in settings}
            # The metrics do not depend on the threshold: no warning that it no longer fits.
            self.pipeline.configure(calibration=None)
            self.pipeline.configure(**settings)
            self._measure(study, label, self.pipeline)
            self.pipeline.configure(**saved)

    def _measure(self, study: str, label: str, pipeline: DiffusionADPipeline) -> None:
        if self._has(study, label):
            return
        metrics, _ = evaluate(pipeline, self.records, f"{study}: {label}", replicates=0)
        row = {"study": study, "label": label}
        row |= {name: metrics[name]["value"] for name in METRICS if name in metrics}
        row |= {**metrics["reconstruction"], "cpu_ms_per_picture": metrics["cpu_ms_per_picture"]}
        self.report["rows"].append(row)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(self.path) as partial:
            partial.write_text(json.dumps(self.report, indent=1) + "\n", encoding="utf-8")

    def _has(self, study: str, label: str) -> bool:
        return any((row["study"], row["label"]) == (study, label) for row in self.report["rows"])


def train_again(data: str, preset: str, override: str, minutes: float, output: Path) -> Path:
    """Train a run with one setting changed, by the training command, and return its folder."""
    arguments = ["--data", data, "--preset", preset, "--output", str(output), "--set", override]
    arguments += ["--set", "model.pretrained_features=none"]
    command = [sys.executable, "-m", "diffusionad", "train", *arguments, "--max-minutes", str(minutes)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise ValueError(f"training with {override} failed: {done.stderr.strip().splitlines()[-1]}")
    return output


def subset(records: list[Record], per_kind: int) -> list[Record]:
    """Return the first pictures of each kind of defect, and as many good pictures as defective ones."""
    kinds = sorted({r.defect for r in records if r.label})
    chosen = [r for kind in kinds for r in [r for r in records if r.defect == kind][:per_kind]]
    return [r for r in records if r.label == 0][: len(chosen)] + chosen


@click.command("ablation")
@model_option()
@data_option("Data set with a test split.")
@output_option("Base name of the results: NAME.json, NAME.md and NAME_*.png.")
@click.option("--per-kind", default=10, show_default=True, help="Number of pictures of each kind of defect.")
@click.option(
    "--study",
    "studies",
    multiple=True,
    type=click.Choice((*STUDIES, *RETRAINING)),
    help="Study to run; may repeat.  [default: every study that does not train]",
)
@click.option(
    "--preset",
    default="tiny",
    show_default=True,
    metavar="NAME",
    help="Preset or TOML file of the studies that train.",
)
@click.option(
    "--max-minutes",
    default=30.0,
    show_default=True,
    help="Training time of each row of the studies that train.",
)
def ablation_command(
    model: str,
    data: str,
    output: Path,
    per_kind: int,
    studies: tuple[str, ...],
    preset: str,
    max_minutes: float,
) -> None:
    """Measure what each part of the method contributes, on a trained pipeline."""
    try:
        records = subset(scan(data).test, per_kind)
        if not records:
            raise ValueError(
                f"`{data}` has no defective test pictures; put them into `test/<defect>`, and good ones "
                "into `test/good`."
            )
        folder = find_folder(model)
        ablation = Ablation(folder, records, output.with_suffix(".json"))
        for study in studies or STUDIES:
            ablation.run(study, data, preset, max_minutes)
    except (ValueError, FileNotFoundError) as error:
        raise CannotRun(str(error)) from error
    write_plots(ablation.report["rows"], output)
    click.echo(write_report(ablation.report, output.with_suffix(".md")))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    return run(ablation_command, arguments, "python -m training.studies.ablation")


if __name__ == "__main__":
    sys.exit(main())
