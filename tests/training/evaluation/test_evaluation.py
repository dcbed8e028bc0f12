"""From a pipeline and a test split to figures: the contract of metrics.json, and input that cannot work."""

import csv
import dataclasses
import json
import math
from html.parser import HTMLParser
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from example_layouts import dagm
from PIL import Image

from diffusionad import DiffusionADPipeline, learn_marks
from diffusionad.cli.options import run
from diffusionad.loading.fingerprint import pipeline_sha256
from training.cli import evaluate_command
from training.data.catalog import Record, scan
from training.evaluation import tables
from training.evaluation.accumulators import MetricAccumulator, ReconstructionAccumulator
from training.evaluation.evaluator import evaluate, facts_of_run, headline, read_development, write_results
from training.evaluation.html_report import write_report
from training.evaluation.metrics import IMAGE_METRICS, LOCALISATION_METRICS, METRICS, PIXEL_METRICS
from training.evaluation.provenance import command, data_sha256


def evaluate_with(*words: str | Path) -> int:
    """Run `python -m training.evaluation` with these arguments and return its exit status."""
    return run(evaluate_command, [str(word) for word in words], "python -m training.evaluation")


@pytest.fixture(autouse=True)
def without_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes longer than all else, and `written` has the figures."""
    monkeypatch.setattr("training.evaluation.evaluator.write_figures", lambda *_: None)


@pytest.fixture(scope="module")
def found(tiny_pipeline: DiffusionADPipeline, waves: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    return evaluate(tiny_pipeline, scan(waves).test)


@pytest.fixture(scope="module")
def written(tiny_model_folder: Path, waves: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the command writes."""
    output = tmp_path_factory.mktemp("evaluated")
    assert evaluate_with("--model", tiny_model_folder, "--data", waves, "--output", output) == 0
    return output


def leaves(value: Any) -> list[Any]:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return [value] if inner is None else [leaf for v in inner for leaf in leaves(v)]


def test_every_metric_has_a_value_and_an_interval(found) -> None:
    metrics, rows = found
    for name in METRICS:
        value, (low, high) = metrics[name]["value"], metrics[name]["interval"]
        assert 0 <= low <= high <= 1 and 0 <= value <= 1, name
    assert metrics["absent"] == {}
    assert (metrics["n_test"], metrics["n_good"], metrics["n_defective"]) == (10, 4, 6) and len(rows) == 10
    assert set(metrics["per_defect"]) == {"bright", "dark"}
    assert metrics["per_defect"]["dark"]["n"] == 3
    assert set(metrics["per_defect"]["dark"]["image_auroc"]) == {"value", "interval"}
    assert metrics["calibration"] == {"n": 40, "rate": pytest.approx(1 / 41)}


def test_rates_are_the_shares_of_the_verdicts(found) -> None:
    metrics, rows = found
    good = [row["is_anomalous"] for row in rows if row["label"] == 0]
    assert metrics["false_alarm_rate"] == np.mean(good)
    rates = [metrics["per_defect"][kind]["detection_rate"] for kind in ("bright", "dark")]
    assert metrics["detection_rate"] == pytest.approx(np.mean(rates))


def test_the_command_writes_all_of_it(written: Path, tiny_model_folder: Path) -> None:
    metrics = json.loads((written / "metrics.json").read_text())
    assert all(math.isfinite(v) for v in leaves(metrics) if isinstance(v, float))
    assert metrics["pipeline_sha256"] == pipeline_sha256(tiny_model_folder)
    for key in ("category", "threshold", "command", "seed", "config", "versions", "machine", "seconds"):
        assert key in metrics, key
    assert len(metrics["data_sha256"]) == 64 and metrics["images_per_second"] > 0
    assert {p.name for p in (written / "figures").iterdir()} == {
        f"{name}.png" for name in ("roc", "scores", "per_defect", "cases_best", "cases_worst")
    }
    with (written / "scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 10 and rows[0]["file"] == "bright/000.png"


def test_development_pictures_are_left_out_and_named_beside(
    tiny_model_folder, waves, tmp_path, found
) -> None:
    listed = tmp_path / "development.txt"
    listed.write_text("# seen\nbright/000.png\ndark/001.png  # odd\n", encoding="utf-8")
    words = ["--model", tiny_model_folder, "--data", waves, "--development", listed]
    assert evaluate_with(*words, "--output", tmp_path / "figures") == 0
    metrics = json.loads((tmp_path / "figures/metrics.json").read_text())
    assert (metrics["n_test"], metrics["n_development"]) == (8, 2)
    with (tmp_path / "figures/scores.csv").open(newline="") as file:
        assert {"bright/000.png", "dark/001.png"}.isdisjoint(row["file"] for row in csv.DictReader(file))
    whole = metrics["with_development_pictures"]
    assert (whole["n_good"], whole["n_defective"]) == (4, 6)
    assert whole["image_auroc"] == found[0]["image_auroc"] != metrics["image_auroc"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [("dark/9.png", "names dark/9.png, which is no test picture"), (None, "every test")],
)
def test_a_list_of_development_pictures_that_cannot_be_meant_is_refused(
    waves, tmp_path, text: str | None, complaint: str
) -> None:
    records = scan(waves).test
    everything = "\n".join(f"{record.defect}/{record.image.name}" for record in records)
    (tmp_path / "list.txt").write_text(everything if text is None else text, encoding="utf-8")
    with pytest.raises(ValueError, match=complaint):
        read_development(tmp_path / "list.txt", records)


def test_pictures_with_known_marks_are_counted(tiny_model_folder: Path, waves: Path, tmp_path: Path) -> None:
    pipeline = DiffusionADPipeline.from_pretrained(tiny_model_folder)
    records = scan(waves).test
    good = [record.image for record in records if not record.label]
    assert "with_known_marks" not in evaluate(pipeline, records, replicates=0)[0]
    assert learn_marks(pipeline, good) > 0
    metrics, _ = evaluate(pipeline, records, replicates=0)
    assert metrics["with_known_marks"]["good"] == 1 and 0 <= metrics["with_known_marks"]["defective"] <= 1


def test_figures_of_a_run_say_how_it_was_trained(tmp_path) -> None:
    facts = {"steps": 7, "train_minutes": 1.5, "command": "python -m training.train", "machine": "here"}
    (tmp_path / "metrics.json").write_text(json.dumps({**facts, "pipeline_sha256": "a"}))
    validated = {"step": 5, "minutes": 1.0, "psnr_normal_db": 30.0, "synthetic_image_auroc": 1.0, "noise": 1}
    lines = [{"step": 4, "minutes": 0.8, "noise": 0.1}, validated]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = facts_of_run(tmp_path / "pipeline", "a")
    assert found["curve"] == [{name: value for name, value in validated.items() if name != "noise"}]
    assert (found["steps"], found["train_command"]) == (7, "python -m training.train")
    assert facts_of_run(tmp_path / "pipeline", "b") == {}


def test_the_report_opens_offline(written: Path) -> None:
    class Links(HTMLParser):
        found: list[str]

        def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
            self.found += [value for name, value in attributes if name in ("src", "href")]

    page = (written / "report.html").read_text()
    links = Links()
    links.found = []
    links.feed(page)
    assert len(links.found) == 5 and all(link.startswith("data:image/png;base64,") for link in links.found)
    assert "http" not in page
    metrics = json.loads((written / "metrics.json").read_text())
    for name in METRICS:
        assert f"{metrics[name]['value']:.4f}" in page


def test_the_report_escapes_what_a_folder_name_may_hold(written: Path, tmp_path: Path) -> None:
    metrics = json.loads((written / "metrics.json").read_text())
    defects = {"<script>1</script>": metrics["per_defect"]["dark"]}
    write_report(tmp_path, metrics | {"category": "nuts & <b>bolts</b>", "per_defect": defects})
    page = (tmp_path / "report.html").read_text()
    assert "<h1>DiffusionAD on nuts &amp; &lt;b&gt;bolts&lt;/b&gt;</h1>" in page
    assert "<script>" not in page and "&lt;script&gt;1" in page
    assert page.count("<table>") == page.count("</table>") == 3


def test_the_report_warns_where_the_score_does_not_come_from_the_defect(
    written: Path, tmp_path: Path
) -> None:
    metrics = json.loads((written / "metrics.json").read_text())
    quiet = {name: value for name, value in metrics.items() if name != "warning"}
    write_report(tmp_path, quiet)
    assert "Warning" not in (tmp_path / "report.html").read_text()
    write_report(tmp_path, quiet | {"warning": "peaks lie elsewhere"})
    assert "<strong>Warning: peaks lie elsewhere</strong>" in (tmp_path / "report.html").read_text()


def test_a_split_with_masks_has_pointing_and_fidelity_on_the_part(written: Path) -> None:
    metrics = json.loads((written / "metrics.json").read_text())
    for name in LOCALISATION_METRICS:
        low, high = metrics[name]["interval"]
        assert low <= metrics[name]["value"] <= high
    assert -1 <= metrics["reconstruction"]["gradient_correlation"] <= 1
    assert metrics["reconstruction"]["psnr_part_db"] > 0


def test_the_report_of_a_split_without_defects_has_no_table_of_defects(
    tiny_pipeline, waves, tmp_path
) -> None:
    metrics, _ = evaluate(tiny_pipeline, [record for record in scan(waves).test if record.label == 0])
    write_report(tmp_path, metrics)
    page = (tmp_path / "report.html").read_text()
    assert "Kinds of defect" not in page
    assert '<td class="n">absent</td><td class="n">no defective test picture</td>' in page


def test_without_masks_only_pixel_metrics_are_absent_with_the_reason(tiny_pipeline, waves) -> None:
    records = [dataclasses.replace(record, mask=None) for record in scan(waves).test]
    metrics, _ = evaluate(tiny_pipeline, records)
    assert metrics["absent"] == dict.fromkeys((*PIXEL_METRICS, *LOCALISATION_METRICS), "no masks")
    assert not set(PIXEL_METRICS) & set(metrics) and set(IMAGE_METRICS) <= set(metrics)
    assert "aupro          absent: no masks" in headline(metrics)


def test_without_a_defective_picture_the_metrics_are_absent_and_the_rest_is_there(
    tiny_pipeline, waves, tmp_path
) -> None:
    good = [record for record in scan(waves).test if record.label == 0]
    metrics, rows = evaluate(tiny_pipeline, good)
    assert metrics["absent"]["image_auroc"] == "no defective test picture"
    assert set(metrics["absent"]) == {*METRICS, "detection_rate"}
    assert 0 <= metrics["false_alarm_rate"] <= 1 and "detection_rate" not in metrics
    write_results(tmp_path, metrics, rows)


def test_an_empty_test_split_has_no_metric(tiny_pipeline, tmp_path) -> None:
    metrics, rows = evaluate(tiny_pipeline, [])
    assert set(metrics["absent"]) == {*METRICS, "false_alarm_rate", "detection_rate"}
    assert metrics["n_test"] == 0
    write_results(tmp_path, metrics, rows)
    assert "absent" in headline(metrics)


def test_a_mask_of_another_size_is_refused(tiny_pipeline, waves, tmp_path) -> None:
    [record, *_] = [r for r in scan(waves).test if r.mask is not None]
    Image.fromarray(np.full((10, 10), 255, np.uint8)).save(tmp_path / "mask.png")
    with pytest.raises(ValueError, match=r"mask\.png` is 10 x 10, its picture 64 x 72; a mask must have"):
        evaluate(tiny_pipeline, [dataclasses.replace(record, mask=tmp_path / "mask.png")])


def test_a_score_that_is_nan_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"`a/b\.png` has the score nan"):
        MetricAccumulator().add(Record(Path("a/b.png"), "test", 0, "good"), math.nan, np.zeros((4, 4)), False)


def test_a_figure_that_is_not_finite_is_never_written(tmp_path) -> None:
    with pytest.raises(ValueError, match=r"`metrics\.json: per_defect: dent: rate` is nan"):
        write_results(tmp_path / "out", {"per_defect": {"dent": {"rate": math.nan}}}, [])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda root: (root / "test").mkdir(parents=True), "`train/good`|holds no picture"),
        (lambda root: None, "is not a folder"),
    ],
)
def test_data_that_cannot_be_tested_is_one_sentence(
    change, sentence, tiny_model_folder, tmp_path, capsys
) -> None:
    change(tmp_path / "data")
    words = ["--model", tiny_model_folder, "--data", tmp_path / "data", "--output", tmp_path]
    assert evaluate_with(*words) == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error and any(s in error for s in sentence.split("|"))


def test_the_hash_of_the_data_sees_pictures_masks_and_labels_but_not_where_they_lie(waves, tmp_path) -> None:
    records = scan(waves).test
    before = data_sha256(records)
    moved = tmp_path / "elsewhere" / records[0].defect / records[0].image.name
    moved.parent.mkdir(parents=True)
    moved.write_bytes(records[0].image.read_bytes())
    assert data_sha256([dataclasses.replace(records[0], image=moved), *records[1:]]) == before
    assert data_sha256([dataclasses.replace(records[0], mask=None), *records[1:]]) != before
    assert data_sha256([dataclasses.replace(records[0], defect="other"), *records[1:]]) != before
    masked = next(record for record in records if record.mask)
    several = tmp_path / "masks"  # as in MVTec LOCO
    several.mkdir()
    for name in ("0.png", "1.png"):
        (several / name).write_bytes(masked.mask.read_bytes())
    joined = [dataclasses.replace(r, mask=several) if r is masked else r for r in records]
    assert data_sha256(joined) not in (before, data_sha256(records[1:]))


def test_the_command_is_written_without_the_folders_of_this_machine(monkeypatch) -> None:
    words = ["--data", "/secret/place/sets/bottle", "--output=/secret/runs/figures", "--n", "3"]
    short = "--data DIR/sets/bottle --output=DIR/runs/figures --n 3"
    monkeypatch.setattr("sys.argv", ["/home/me/clone/training/evaluation/__main__.py", *words])
    monkeypatch.setattr("__main__.__spec__", ModuleSpec("training.evaluation.__main__", None))
    assert command() == f"python -m training.evaluation {short}"
    monkeypatch.setattr("__main__.__spec__", ModuleSpec("training.studies.ablation", None))
    assert command() == f"python -m training.studies.ablation {short}"
    monkeypatch.setattr("sys.argv", ["/home/me/venv/bin/diffusionad", "evaluate", *words])
    monkeypatch.setattr("__main__.__spec__", None)
    assert command() == f"diffusionad evaluate {short}"


def test_a_perfect_repair_has_no_residue_and_no_repair_has_all_of_it(waves) -> None:
    [record] = [r for r in scan(waves).test if r.clean is not None][:1]
    for path, expected in ((record.clean, 0), (record.image, 1)):
        reconstruction = ReconstructionAccumulator()
        with Image.open(path) as picture:
            reconstruction.add(
                record, np.asarray(picture.resize((64, 64), Image.Resampling.BOX), np.float32) / 255
            )
        assert reconstruction.compute()["defect_residue"] == pytest.approx(expected, abs=0.1)
        assert reconstruction.residues() == {record.defect: reconstruction.compute()["defect_residue"]}


def test_tables_hold_every_category_and_the_means(tmp_path) -> None:
    full = {name: {"value": 0.5, "interval": [0.4, 0.6]} for name in METRICS} | {
        "n_good": 3,
        "n_defective": 2,
    }
    partial = {name: {"value": 0.9, "interval": [0.8, 1.0]} for name in IMAGE_METRICS}
    for name, metrics in (("bolt_1", full), ("nut", partial | {"n_good": 1, "n_defective": 1})):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.json").write_text(json.dumps(metrics))
    assert tables.main(["--data", str(tmp_path)]) == 0
    lines = (tmp_path / "table.md").read_text().splitlines()
    assert lines[2].startswith("| bolt_1 | 50.0 |") and lines[3].endswith("| - | - | - | - |")
    assert lines[4].startswith("| **mean** | **70.0** |") and "**50.0 (1 of 2)**" in lines[4]
    latex = (tmp_path / "table.tex").read_text()
    assert r"bolt\_1 & 50.0" in latex and latex.count(r"\\") == 4
    with (tmp_path / "table.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["aupro_low"] == "0.4" and rows[1]["aupro"] == ""


def test_figures_without_pretrained_features_have_a_table_of_their_own(tmp_path, capsys) -> None:
    own = {name: {"value": 0.25, "interval": [0.2, 0.3]} for name in METRICS}
    metrics = {name: {"value": 0.5, "interval": [0.4, 0.6]} for name in METRICS}
    (tmp_path / "bolt").mkdir()
    metrics |= {"n_good": 3, "n_defective": 2, "from_scratch": own}
    (tmp_path / "bolt" / "metrics.json").write_text(json.dumps(metrics))
    assert tables.main(["--data", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert (
        said.index("| bolt | 50.0") < said.index("Without pretrained features") < said.index("| bolt | 25.0")
    )
    assert "| bolt | 25.0" in (tmp_path / "table_from_scratch.md").read_text()


def test_all_categories_of_a_data_set_are_evaluated_with_their_own_models(
    tiny_model_folder, waves, tmp_path, capsys
) -> None:
    for name in ("one", "two"):
        (tmp_path / "set").mkdir(exist_ok=True)
        (tmp_path / "set" / name).symlink_to(waves)
        (tmp_path / "models" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "models" / name).symlink_to(tiny_model_folder)
    model = tmp_path / "models/{category}"
    assert evaluate_with("--model", model, "--data", tmp_path / "set", "--output", tmp_path / "out") == 0
    assert "| **mean** |" in capsys.readouterr().out
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        *("one", "two", "table.md", "table.tex", "table.csv")
    }


def test_a_data_set_is_evaluated_as_it_was_downloaded(tiny_model_folder, tmp_path, capsys) -> None:
    for name in ("Class1", "Class2"):
        dagm(tmp_path / "DAGM" / name)
    words = ["--model", tiny_model_folder, "--data", tmp_path / "DAGM", "--output"]
    assert evaluate_with(*words, tmp_path / "one", "--category", "Class2") == 0
    metrics = json.loads((tmp_path / "one/metrics.json").read_text())
    assert metrics["n_good"] == 3 and set(metrics["per_defect"]) == {"defect"}
    (tmp_path / "models/Class1").parent.mkdir()
    for name in ("Class1", "Class2"):
        (tmp_path / "models" / name).symlink_to(tiny_model_folder)
    words[1] = tmp_path / "models/{category}"
    capsys.readouterr()
    assert evaluate_with(*words, tmp_path / "all") == 0
    said = capsys.readouterr().out
    assert "| Class1 |" in said and "| Class2 |" in said
    assert evaluate_with("--model", tiny_model_folder, *words[2:], tmp_path / "none") == 2
    assert "holds 2 categories; choose with `category` one of Class1, Class2" in capsys.readouterr().err
