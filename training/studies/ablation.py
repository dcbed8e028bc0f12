"""What each part of the method does, on any trained pipeline and without training again.

    python -m training.studies.ablation --model RUN/pipeline --data FOLDER --output benchmarks/ablation_NAME
    python -m training.studies.ablation ... --studies steps guidance --per-kind 4
    python -m training.studies.ablation ... --studies losses synthesis --config RUN/config.toml --minutes 10

Writes NAME.json, NAME.md and plots. Each row is written as soon as it is measured: the same command goes on
where it was stopped. Two studies train again, and run only when they are asked for.
"""

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from diffusionad import DiffusionADPipeline
from diffusionad.guidance import alpha_bar_at
from diffusionad.loading.pretrained import find_folder

from ..data.catalog import Record, scan
from ..evaluation.evaluator import evaluate
from ..evaluation.provenance import data_sha256, provenance
from ..synthesis.anomalies import FAMILIES
from .ablation_report import write_plots, write_report

FIGURES = ("image_auroc", "image_ap", "pixel_auroc", "pixel_ap", "aupro")
STEPS = (1, 2, 5, 10, 25, 50)
WEIGHTS = (0.0, 0.5, 1.0, 2.0)
GRID = tuple(itertools.product((100, 200, 300, 400), (400, 500), (0.0, 1.0, 2.0)))
NOISE_SAMPLES = (1, 2, 4, 8)
SEEDS = (0, 1, 2, 3, 4)

ALL_ON_THE_MAP = {"mark_similarity": 1}  # marks were learnt with the settings that are varied here

Variant = tuple[str, dict[str, Any]]  # its label, and the settings in which it differs


@contextmanager
def segmenter_sees_the_picture_twice(pipeline: DiffusionADPipeline) -> Iterator[None]:
    """Within, the segmenter's second input is the picture itself."""
    hook = pipeline.segmenter.register_forward_pre_hook(lambda segmenter, inputs: (inputs[0], inputs[0]))
    try:
        yield
    finally:
        hook.remove()


def setting_studies(pipeline: DiffusionADPipeline) -> dict[str, list[Variant]]:
    """The studies that only change settings of the call."""
    config = pipeline.config
    alpha_bar = alpha_bar_at(pipeline.scheduler.alphas_cumprod, config.t_fine, torch.zeros(1)).item()
    # Guidance blends with a weight of w (1 - alpha_bar): at this w, the coarse prediction is all of it.
    coarse_only = 1 / (1 - alpha_bar)
    steps = [n for n in STEPS if n <= config.t_coarse]
    # Without guidance the coarse scale does not matter: one row is enough.
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
NETWORK_STUDIES = ("input", "dtype")  # they change the networks' input or numbers, not a setting
STUDIES = ("steps", "guidance", "grid", "noise", "seeds", *NETWORK_STUDIES)


class Ablation:
    """Rows of studies, kept in a file from which a stopped run goes on.

    Args:
        model: folder of the pipeline.
        records: pictures to measure on.
        path: JSON file of the rows.

    Raises:
        ValueError: the file holds rows of another pipeline or of other pictures.
    """

    def __init__(self, model: Path, records: list[Record], path: Path):
        self.model, self.records, self.path = model, records, path
        self.pipeline = DiffusionADPipeline.from_pretrained(model, **ALL_ON_THE_MAP)
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

    def run(self, study: str, data: Path, config: str, minutes: float) -> None:
        """Measure what is still missing of a study."""
        if study in RETRAINING:
            for label, override in RETRAINING[study]:
                if not self._has(study, label):
                    with tempfile.TemporaryDirectory() as folder:
                        run = train_again(data, config, override, minutes, Path(folder, "run"))
                        retrained = DiffusionADPipeline.from_pretrained(run / "pipeline", **ALL_ON_THE_MAP)
                        self._measure(study, label, retrained)
        elif study == "input":
            self._measure(study, "picture and reconstruction", self.pipeline)
            with segmenter_sees_the_picture_twice(self.pipeline):
                self._measure(study, "the picture twice", self.pipeline)
        elif study == "dtype":
            for dtype in (torch.float32, torch.bfloat16):
                pipeline = DiffusionADPipeline.from_pretrained(self.model, dtype=dtype, **ALL_ON_THE_MAP)
                self._measure(study, str(dtype).removeprefix("torch."), pipeline)
        else:
            for label, settings in setting_studies(self.pipeline)[study]:
                saved = {name: self.pipeline.config[name] for name in settings}
                # The threshold plays no part in these figures: no warning that it no longer fits.
                self.pipeline.configure(calibration=None)
                self.pipeline.configure(**settings)
                self._measure(study, label, self.pipeline)
                self.pipeline.configure(**saved)

    def _measure(self, study: str, label: str, pipeline: DiffusionADPipeline) -> None:
        if self._has(study, label):
            return
        metrics, _ = evaluate(pipeline, self.records, f"{study}: {label}", replicates=0)
        row = {"study": study, "label": label}
        row |= {name: metrics[name]["value"] for name in FIGURES if name in metrics}
        row |= {**metrics["reconstruction"], "cpu_ms_per_picture": metrics["cpu_ms_per_picture"]}
        self.report["rows"].append(row)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps(self.report, indent=1) + "\n", encoding="utf-8")

    def _has(self, study: str, label: str) -> bool:
        return any((row["study"], row["label"]) == (study, label) for row in self.report["rows"])


def train_again(data: Path, config: str, override: str, minutes: float, output: Path) -> Path:
    """A run with one setting changed, by the training command itself."""
    arguments = ["--data", str(data), "--preset", config, "--output", str(output), "--set", override]
    command = [sys.executable, "-m", "training.train", *arguments, "--max-minutes", str(minutes)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise ValueError(f"training with {override} failed: {done.stderr.strip().splitlines()[-1]}")
    return output


def subset(records: list[Record], per_kind: int) -> list[Record]:
    """The first few of each kind of defect, and as many good pictures as defective ones."""
    kinds = sorted({r.defect for r in records if r.label})
    chosen = [r for kind in kinds for r in [r for r in records if r.defect == kind][:per_kind]]
    return [r for r in records if r.label == 0][: len(chosen)] + chosen


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m training.studies.ablation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", required=True, help="folder or Hub id of a pipeline")
    parser.add_argument("--data", required=True, type=Path, help="data set with a test split")
    parser.add_argument("--output", required=True, type=Path, help="NAME.json, NAME.md, NAME_*.png")
    parser.add_argument("--per-kind", type=int, default=10, help="pictures of each kind of defect")
    parser.add_argument("--studies", nargs="+", choices=(*STUDIES, *RETRAINING), default=STUDIES)
    parser.add_argument("--config", default="tiny", help="preset or config.toml of the studies that train")
    parser.add_argument("--minutes", type=float, default=30, help="of training for each of their rows")
    args = parser.parse_args(arguments)
    try:
        records = subset(scan(args.data).test, args.per_kind)
        if not records:
            raise ValueError(
                f"`{args.data}` has no defective test pictures; put them into `test/<defect>`, and good ones "
                "into `test/good`."
            )
        folder = find_folder(args.model, None, None, None, None, False)
        ablation = Ablation(folder, records, args.output.with_suffix(".json"))
        for study in args.studies:
            ablation.run(study, args.data, args.config, args.minutes)
    except (ValueError, FileNotFoundError) as error:
        parser.error(str(error))
    write_plots(ablation.report["rows"], args.output)
    print(write_report(ablation.report, args.output.with_suffix(".md")))


if __name__ == "__main__":
    main()
