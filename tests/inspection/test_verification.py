"""Results that are run again: nothing differs without a reason, and each reason is named."""

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image
from watch_script import Script, nothing

from diffusionad import DiffusionADPipeline
from diffusionad.cli.main import main
from diffusionad.inspection.inspector import Inspector
from diffusionad.inspection.results import ResultWriter, header
from diffusionad.inspection.trace import weights_sha256, write_head
from diffusionad.line.watch import WatchLog, watch
from diffusionad.postprocessing.calibration import Calibration


@pytest.fixture(scope="module")
def recorded(tiny_model_folder, make_pictures, tmp_path_factory) -> Path:
    """A folder with a model, two pictures, and their results in `report/`, as two commands write them."""
    root = tmp_path_factory.mktemp("recorded")
    shutil.copytree(tiny_model_folder, root / "model")
    (root / "pictures").mkdir()
    files = [root / "pictures" / f"{i}.png" for i in range(2)]
    for file, pixels in zip(files, make_pictures(2, seed=3), strict=True):
        Image.fromarray(pixels).save(file)
    pipeline = DiffusionADPipeline.from_pretrained(root / "model")
    report = root / "report"
    report.mkdir()
    inspector = Inspector(pipeline, report, overlays=False)
    head = header(pipeline, str(root / "model"))
    with ResultWriter(report, head, 2, relative=True) as writer:
        for result in inspector(files, root / "pictures"):
            writer.add(result)
    watch(
        root / "pictures",
        WatchLog(report / "watched.jsonl"),
        lambda files: inspector(files, root / "pictures"),
        Script([nothing]),
        trace=write_head(head, report),
    )
    return root


@pytest.fixture
def copy(recorded, tmp_path) -> Path:
    """`recorded`, which the test may change."""
    root = tmp_path / "copy"
    shutil.copytree(recorded, root)
    for path in [*(root / "report").glob("*.json*"), *(root / "report/heads").iterdir()]:
        path.write_text(path.read_text().replace(str(recorded), str(root)))
    return root


def verified(root: Path, capsys, name: str = "results.json") -> tuple[int, list[str]]:
    """Exit status and lines of the command."""
    capsys.readouterr()
    status = main(["verify", str(root / "report" / name)])
    return status, capsys.readouterr().out.splitlines()


def test_unchanged_results_are_the_same(recorded, capsys):
    same = (0, ["2 of 2 verdicts are the same."])
    assert [verified(recorded, capsys, name) for name in ("results.json", "watched.jsonl")] == [same] * 2


def test_a_changed_picture_is_named_and_so_is_a_missing_one(copy, capsys):
    Image.new("RGB", (64, 64), "red").save(copy / "pictures/0.png")
    (copy / "pictures/1.png").unlink()
    status, lines = verified(copy, capsys)
    assert status == 1 and lines[-1] == "0 of 2 verdicts are the same."
    assert lines[0].endswith("0.png: not run: the picture changed")
    assert "the picture cannot be read (No such file" in lines[1]


def test_changed_weights_versions_and_calibration_are_the_reasons(copy, capsys):
    pipeline = DiffusionADPipeline.from_pretrained(copy / "model")
    before = weights_sha256(pipeline)
    pipeline.segmenter.conv_out.bias.data += 1
    assert weights_sha256(pipeline) != before
    stored = {**pipeline.config.calibration, "date": "2020-01-01"}
    pipeline.configure(calibration=Calibration.from_dict(stored))
    pipeline.save_pretrained(copy / "model")
    path = copy / "report/results.json"
    path.write_text(path.read_text().replace('"numpy": "', '"numpy": "0.'))
    status, lines = verified(copy, capsys)
    assert status == 1 and len(lines) == 3
    assert "score 0." in lines[0] and "the weights changed; the settings changed (calibration); " in lines[0]
    assert "other versions (numpy 0." in lines[0]


def test_a_threshold_of_the_run_is_used_again_and_an_edited_result_is_other_bits(copy, capsys):
    path = copy / "report/results.json"
    report = json.loads(path.read_text())
    report["results"][1]["score"] += 1e-7
    path.write_text(json.dumps(report))
    pipeline = DiffusionADPipeline.from_pretrained(copy / "model")
    pipeline.configure(threshold=0.123)  # as a later user might set it
    pipeline.save_pretrained(copy / "model")
    status, lines = verified(copy, capsys)
    assert status == 1 and len(lines) == 2
    assert "1.png: score" in lines[0] and lines[0].endswith(
        "other bits: picture, weights, settings and versions are the same"
    )


@pytest.mark.parametrize("text", ["{}", "[]", "no JSON", '{"results": []}', '{"results": [{"error": null}]}'])
def test_what_is_no_result_with_hashes_is_refused_in_a_sentence(text, tmp_path, capsys):
    (tmp_path / "results.json").write_text(text)
    assert main(["verify", str(tmp_path / "results.json")]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "cannot be verified" in line and "give a results.json or watched.jsonl with hashes" in line
