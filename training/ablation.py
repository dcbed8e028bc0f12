"""What each part of the method does, on a trained pipeline and without training again.

    python -m training.ablation --model RUN/pipeline --data FOLDER --output benchmarks/NAME_ablation.json

For a grid of (t_fine, t_coarse, guidance_weight): detection, and where clean twins exist how much of a defect
the reconstruction leaves (`defect_residue`) and how well it keeps normal pictures (PSNR). And the segmenter
fed the picture twice: is the reconstruction used at all?
"""

import argparse
import itertools
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from diffusionad import DiffusionADPipeline
from diffusionad.loading import find_folder
from training.catalog import Record, scan
from training.evaluation import evaluate
from training.provenance import provenance

FIGURES = ("image_auroc", "pixel_auroc", "aupro")
T_FINE, T_COARSE, WEIGHTS = (100, 200, 300, 400), (400, 500), (0.0, 1.0, 2.0)


@contextmanager
def segmenter_sees_the_picture_twice(pipeline: DiffusionADPipeline) -> Iterator[None]:
    """Within, the segmenter's second input is the picture itself."""
    hook = pipeline.segmenter.register_forward_pre_hook(lambda segmenter, inputs: (inputs[0], inputs[0]))
    try:
        yield
    finally:
        hook.remove()


def measure(pipeline: DiffusionADPipeline, records: list[Record], description: str) -> dict[str, Any]:
    """Detection and reconstruction of the pipeline as it is configured."""
    metrics, _ = evaluate(pipeline, records, description, replicates=0)
    return {**{k: metrics[k]["value"] for k in FIGURES if k in metrics}, **metrics.get("reconstruction", {})}


def guidance_grid(pipeline: DiffusionADPipeline, records: list[Record]) -> list[dict[str, Any]]:
    """A row for each (t_fine, t_coarse, guidance_weight) with t_fine below t_coarse."""
    saved = {k: pipeline.config[k] for k in ("t_fine", "t_coarse", "guidance_weight")}
    rows = []
    for t_fine, t_coarse, weight in itertools.product(T_FINE, T_COARSE, WEIGHTS):
        # Without guidance the coarse scale does not matter: one row is enough.
        if t_fine >= t_coarse or (weight == 0 and t_coarse != T_COARSE[-1]):
            continue
        settings = {"t_fine": t_fine, "t_coarse": t_coarse, "guidance_weight": weight}
        pipeline.configure(**settings)
        rows.append({**settings, **measure(pipeline, records, f"{t_fine}, {t_coarse}, w = {weight:g}")})
    pipeline.configure(**saved)
    return rows


def markdown_table(rows: list[dict[str, Any]]) -> str:
    """The grid as a table."""
    names = list(rows[0])
    lines = [" | ".join(names), " | ".join("---" for _ in names)]
    lines += [
        " | ".join(f"{v:.4g}" if isinstance(v, float) else str(v) for v in row.values()) for row in rows
    ]
    return "\n".join(f"| {line} |" for line in lines) + "\n"


def subset(records: list[Record], per_kind: int) -> list[Record]:
    """The first few of each kind of defect, and as many good pictures as defective ones."""
    kinds = sorted({r.defect for r in records if r.label})
    chosen = [r for kind in kinds for r in [r for r in records if r.defect == kind][:per_kind]]
    return [r for r in records if r.label == 0][: len(chosen)] + chosen


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m training.ablation", description=__doc__)
    parser.add_argument("--model", required=True, help="folder or Hub id of a pipeline")
    parser.add_argument("--data", required=True, help="data set with a test split")
    parser.add_argument("--output", required=True, type=Path, help="JSON file; a table goes beside it as .md")
    parser.add_argument("--per-kind", type=int, default=10, help="pictures of each kind of defect")
    args = parser.parse_args(arguments)
    try:
        records = subset(scan(args.data).test, args.per_kind)
        pipeline = DiffusionADPipeline.from_pretrained(args.model)
    except (ValueError, FileNotFoundError) as error:
        parser.error(str(error))
    if not records:
        parser.error(f"`{args.data}` has no test pictures; put them into `test/good` and `test/<defect>`.")
    as_saved = measure(pipeline, records, "as saved")
    with segmenter_sees_the_picture_twice(pipeline):
        twice = measure(pipeline, records, "picture twice")
    rows = guidance_grid(pipeline, records)
    report = {
        "as_saved": as_saved,
        "segmenter_sees_the_picture_twice": {k: twice[k] for k in FIGURES if k in twice},
        "guidance_grid": rows,
        "n": len(records),
        **provenance(pipeline, find_folder(args.model, None, None, None, None, False)),
    }
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    args.output.with_suffix(".md").write_text(markdown_table(rows), encoding="utf-8")
    print(markdown_table(rows))


if __name__ == "__main__":
    main()
