"""Cards of a published model and of the models of a whole data set, from the figures of the runs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from huggingface_hub import EvalResult, ModelCardData

from diffusionad.loading.hub_models import TAG
from diffusionad.metric_labels import DETECTION, METRIC_LABELS
from diffusionad.postprocessing.verdict import left_out_note, percent, score_text

from .recipe import recipe, resize_note
from .run import FinishedRun, warning_of
from .training_data import DataSet

TEMPLATES = Path(__file__).parent / "templates"
PAPER_TAG = "arxiv:2303.08730"

LABELS = {name: label.heading for name, label in DETECTION.items()}

NON_COMMERCIAL = (
    " That licence excludes commercial use: for it, train on pictures of your own, which takes one command."
)


@dataclass(frozen=True)
class Publication:
    """Facts of the card that the run does not know.

    Attributes:
        repo_id: "org/name".
        project_url: git repository that `pip` installs the package from.
        data: data set of the training.
        panel: file of the picture that shows a detection; None without one.
        score_figure: file of the drawing of the test scores; None without one.
    """

    repo_id: str
    project_url: str
    data: DataSet
    panel: str | None = None
    score_figure: str | None = None


def model_card(run: FinishedRun, publication: Publication) -> str:
    """Return README.md of a model's repository."""
    data, metrics = publication.data, run.metrics
    results = [
        EvalResult(
            task_type="image-segmentation",
            task_name="Anomaly detection",
            dataset_type=data.slug,
            dataset_name=data.name,
            dataset_config=run.category,
            dataset_split="test",
            metric_type=name,
            metric_name=label,
            metric_value=float(metrics[name]["value"]),
        )
        for name, label in LABELS.items()
        if name in metrics
    ]
    front_matter = _front_matter(
        publication,
        tags=[TAG, "anomaly-detection", "defect-detection", data.slug, PAPER_TAG],
        pipeline_tag="image-segmentation",
        library_name="diffusers",
        model_name=_name(publication.repo_id),
        eval_results=results,
        **_thumbnail(publication),
    )
    return _render(
        "model_card.md.jinja",
        publication,
        front_matter=front_matter,
        category=run.category,
        metrics=metrics,
        labels=LABELS,
        measured="image_auroc" in metrics,
        metric_rows=_metric_rows(metrics),
        from_scratch="from_scratch" in metrics,
        defect_rows=[_defect_row(name, row) for name, row in sorted(metrics.get("per_defect", {}).items())],
        absent=metrics.get("absent", {}),
        warning=warning_of(metrics),
        promise=_calibration(run) is not None,
        reconstruction=_reconstruction(metrics),
        certificate=metrics.get("certificate"),
        threshold=_threshold(run),
        speed=_speed(run),
        recipe=recipe(run),
        distillation=metrics.get("distillation"),
        compared=METRIC_LABELS,
        command=f" They come from `{metrics['command']}`." if "command" in metrics else "",
        has_config=bool(run.config),
        has_features="feature_memory" in run.components,
        has_marks="mark_memory" in run.components,
        resize_note=resize_note(run.settings),
        panel=publication.panel,
        score_figure=publication.score_figure,
    )


def index_card(runs: dict[str, FinishedRun], publication: Publication) -> str:
    """Return README.md of the repository that lists the models of all categories, `runs` by repository."""
    columns = {m: label for m, label in LABELS.items() if any(m in run.metrics for run in runs.values())}
    rows = [
        {
            "repo_id": repo_id,
            "category": run.category,
            "cells": [_percent(run.metrics[m]["value"]) if m in run.metrics else "-" for m in columns],
        }
        for repo_id, run in runs.items()
    ]
    means = []
    for name in columns:
        values = [run.metrics[name]["value"] for run in runs.values() if name in run.metrics]
        few = f" ({len(values)} of {len(runs)})" if len(values) < len(runs) else ""
        means.append(_percent(sum(values) / len(values)) + few)
    # Without the tag of the models, so that nobody's list of models shows it as one.
    front_matter = _front_matter(publication, tags=["anomaly-detection", publication.data.slug, PAPER_TAG])
    return _render(
        "index_card.md.jinja",
        publication,
        front_matter=front_matter,
        rows=rows,
        labels=list(columns.values()),
        means=means,
    )


def _thumbnail(publication: Publication) -> dict[str, str]:
    """Return the picture that links to the repository show; nothing without a panel."""
    if publication.panel is None:
        return {}
    return {"thumbnail": f"https://huggingface.co/{publication.repo_id}/resolve/main/{publication.panel}"}


def _front_matter(publication: Publication, **values: Any) -> str:
    data = publication.data
    link: dict[str, Any] = {"license_name": "see-training-data"} if data.license == "other" else {}
    card = ModelCardData(license=data.license, **link, datasets=[data.slug], **values)
    return card.to_yaml()


def _render(template: str, publication: Publication, **values: Any) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # Markdown
    )
    data = publication.data
    return environment.get_template(template).render(
        repo_id=publication.repo_id,
        name=_name(publication.repo_id),
        project_url=publication.project_url,
        data=data,
        data_link=f"[{data.name}]({data.url})" if data.url else data.name,
        non_commercial=NON_COMMERCIAL if "-nc" in data.license else "",
        **values,
    )


def _name(repo_id: str) -> str:
    return repo_id.rpartition("/")[2]


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def _with_interval(metric: dict[str, Any]) -> tuple[str, str]:
    interval = metric.get("interval")
    return f"{metric['value']:.4f}", "{:.4f} to {:.4f}".format(*interval) if interval else "-"


def _metric_rows(metrics: dict[str, Any]) -> list[list[str]]:
    """Return label, value and interval of each metric; the value without pretrained features where known."""
    rows = []
    for name, label in LABELS.items():
        if name in metrics:
            own = metrics.get("from_scratch", {}).get(name)
            own_cell = [] if own is None else [f"{own['value']:.4f}"]
            rows.append([label, *_with_interval(metrics[name]), *own_cell])
    return rows


def _defect_row(name: str, row: dict[str, Any]) -> list[str]:
    auroc = _with_interval(row["image_auroc"]) if "image_auroc" in row else ("-", "-")
    return [name.replace("_", " "), str(row["n"]), percent(row["detection_rate"]), *auroc]


def _calibration(run: FinishedRun) -> dict[str, Any] | None:
    """Return the calibration behind the saved threshold; a threshold that was set by hand has none."""
    calibration = run.settings.get("calibration")
    same = calibration is not None and calibration["threshold"] == run.settings["threshold"]
    return calibration if same else None


def _threshold(run: FinishedRun) -> str:
    metrics, calibration = run.metrics, _calibration(run)
    text = f"Pictures that score above {score_text(run.settings['threshold'], 4)} are called defective. "
    if calibration is None:
        text += "The threshold was set by hand and promises no false-alarm rate. "
    else:
        text += (
            f"The threshold promises that at most {percent(calibration['rate'])} of good parts are called "
            f"defective, whatever the distribution of the scores; it comes from {calibration['n']} good "
            f"pictures{left_out_note(calibration.get('left_out', 0))} that trained and chose nothing. "
        )
    parts = []
    if "false_alarm_rate" in metrics:
        rate = percent(metrics["false_alarm_rate"])
        parts.append(f"{rate} of the {metrics['n_good']} good pictures were called defective")
    if "detection_rate" in metrics:
        rate = percent(metrics["detection_rate"])
        parts.append(f"{rate} of the {metrics['n_defective']} defective ones were found")
    if parts:
        text += f"On the test split, {' and '.join(parts)}. "
    return text + "Pass `threshold=` for another, or calibrate on your own good pictures (`calibrate`)."


def _speed(run: FinishedRun) -> str:
    metrics = run.metrics
    if "images_per_second" not in metrics:
        return "Not measured."
    where = f" on {metrics['machine']}" if "machine" in metrics else ""
    versions = metrics.get("versions", {})
    torch = f", torch {versions['torch']}" if "torch" in versions else ""
    rate = metrics["images_per_second"]
    return f"{rate:.3g} pictures a second ({1000 / rate:.0f} ms each) in fp32{where}{torch}."


def _reconstruction(metrics: dict[str, Any]) -> str:
    found, parts = metrics.get("reconstruction", {}), []
    if "psnr_normal_db" in found:
        on_part = ""
        if "psnr_part_db" in found:
            on_part = (
                f" ({found['psnr_part_db']:.1f} dB on the part itself, gradient correlation "
                f"{found['gradient_correlation']:.2f})"
            )
        parts.append(f"keeps good pictures at {found['psnr_normal_db']:.1f} dB{on_part}")
    if "defect_residue" in found:
        left = {name: row.get("defect_residue") for name, row in metrics.get("per_defect", {}).items()}
        each = [f"{name.replace('_', ' ')} {percent(v)}" for name, v in sorted(left.items()) if v is not None]
        parts.append(
            f"leaves {percent(found['defect_residue'])} of the difference between a defect and its clean twin"
            + (f" ({', '.join(each)})" if each else "")
        )
    return f"The reconstruction {' and '.join(parts)}." if parts else ""
