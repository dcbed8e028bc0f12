"""`diffusionad inspect`: what it writes, what it prints, its exit status; run for real, on a tiny model."""

import csv
import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import warm_start
from PIL import Image

from diffusionad import DiffusionADPipeline
from diffusionad.cli.main import main
from diffusionad.cli.options import announce
from diffusionad.inspection.inspector import Inspector
from diffusionad.inspection.mark_learning import learn_marks
from diffusionad.inspection.results import Result, ResultWriter
from diffusionad.postprocessing.verdict import Verdict

NAMES = ("a/0.png", "a/1.jpg", "b/0.png", "b/deep/3.png")


def start(*arguments: object) -> subprocess.Popen | warm_start.WarmProcess:
    """The command in a process of its own."""
    return warm_start.start(
        [sys.executable, "-u", "-m", "diffusionad.cli.main", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(*arguments: object) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of the real command."""
    process = start(*arguments)
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


@pytest.fixture
def pictures(tmp_path: Path, make_pictures) -> Path:
    """A folder with `NAMES`, of several sizes."""
    folder = tmp_path / "pictures"
    for i, (name, side) in enumerate(zip(NAMES, (64, 80, 100, 40), strict=True)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(make_pictures(1, side, seed=i)[0]).save(folder / name)
    return folder


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def inspect(tiny_model_folder: Path, out: Path) -> Callable[..., int]:
    """`diffusionad inspect` in this process: (further arguments) -> exit status; writes to `out`."""

    def call(*arguments: object) -> int:
        return main(
            ["inspect", "--model", str(tiny_model_folder), "--output", str(out), *map(str, arguments)]
        )

    return call


def rows_of(out: Path) -> list[dict]:
    with open(out / "results.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def json_of(out: Path) -> dict:
    return json.loads((out / "results.json").read_text(encoding="utf-8"))


def files_below(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def test_the_command_inspects_files_folders_and_globs(tiny_model_folder, tiny_pipeline, pictures, out):
    status, stdout, stderr = run(
        *("inspect", pictures / "a", f"{pictures}/b/*.png", pictures / "b/deep/3.png"),
        *("--model", tiny_model_folder, "--output", out, "--panels"),
    )
    assert (status, stderr) == (0, "")
    files = [pictures / name for name in NAMES]
    expected = tiny_pipeline(files)
    results = json_of(out)["results"]
    assert [(out / r["file"]).resolve() for r in results] == [f.resolve() for f in files]
    assert [r["verdict"] == "defective" for r in results] == expected.is_anomalous.tolist()
    np.testing.assert_allclose([r["score"] for r in results], expected.score, rtol=1e-5)
    assert "4 pictures: " in stdout and str(out / "results.csv") in stdout
    drawn = {"a/0.png", "a/1.jpg.png", "b/0.png", "b/deep/3.png"}
    assert files_below(out / "overlays") == files_below(out / "panels") == drawn
    for result, file in zip(results, files, strict=True):
        assert Image.open(out / result["overlay"]).size == Image.open(file).size


def test_fail_on_anomaly_makes_the_exit_status_1(tiny_model_folder, pictures, out):
    status, stdout, _ = run(
        *("inspect", pictures, "--threshold", 0, "--fail-on-anomaly", "--no-overlays"),
        *("--model", tiny_model_folder, "--output", out),
    )
    assert status == 1
    assert "4 pictures: 4 defective, 0 good" in stdout
    for name in NAMES:
        assert re.search(rf"^DEFECTIVE  0\.\d+  {pictures / name}$", stdout, re.MULTILINE)
    assert not (out / "overlays").exists()


def test_a_missing_argument_makes_the_exit_status_2_without_a_traceback():
    status, stdout, stderr = run("inspect", "pictures")
    assert (status, stdout) == (2, "")
    assert stderr.startswith("diffusionad inspect: Missing option '--model'. See diffusionad inspect --help.")
    assert len(stderr.splitlines()) == 1


def test_ctrl_c_keeps_what_was_inspected_until_then(tiny_model_folder, tmp_path, out, make_pictures):
    [picture] = make_pictures(1)
    for i in range(2000):
        Image.fromarray(picture).save(tmp_path / f"{i:04}.bmp")
    process = start("inspect", tmp_path, "--threshold", 0, "--model", tiny_model_folder, "--output", out)
    assert "DEFECTIVE" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=300)
    assert (process.returncode, stderr) == (130, "")
    assert "(interrupted)" in stdout
    report = json_of(out)
    assert not report["summary"]["complete"]
    assert 0 < len(report["results"]) == report["summary"]["pictures"] == len(rows_of(out)) < 2000
    assert {p.name for p in out.iterdir()} == {"results.csv", "results.json", "overlays"}


def test_help_is_answered_without_loading_torch():
    code = "import sys, diffusionad.cli.main as c; status = c.main(['inspect', '--help']); "
    code += "print('status', status, 'torch' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "--fail-on-anomaly" in ran.stdout and ran.stdout.endswith("status 0 False\n")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("missing/", "`missing/` matches no file; check the path"),
        ("*.nothing", "`*.nothing` matches no file"),
        ("", "no pictures given; name files, folders or globs."),
        ("--watch PICTURES", "--watch became a command; run: diffusionad watch PICTURES"),
        ("PICTURES --batch-size 0", "--batch-size is 0; give at least 1"),
        ("PICTURES --model /missing", "--model: `/missing` is neither a folder, nor the id of a repository"),
        ("PICTURES --model PICTURES", "model_index.json` is missing"),
        ("PICTURES --threshold 2", "`threshold` is 2.0; give a number in 0..1"),
        ("PICTURES --t-fine 500", "`t_fine` is 500 and `t_coarse` 400"),
        ("PICTURES --roi missing.png", "`missing.png` does not exist"),
        ("PICTURES --roi PICTURES/black.bmp", "`roi` leaves no pixel to look at"),
        ("PICTURES --output PICTURES/a/0.png", "0.png` cannot be made a folder"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_sentence(inspect, pictures, capsys, arguments, sentence):
    Image.new("L", (9, 9)).save(pictures / "black.bmp")
    assert inspect(*arguments.replace("PICTURES", str(pictures)).split()) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("diffusionad inspect: ") and len(printed.err.splitlines()) == 1
    assert sentence.replace("PICTURES", str(pictures)) in printed.err


def test_a_model_that_the_hub_does_not_have_is_a_sentence_too(inspect, pictures, capsys, hub):
    assert inspect(pictures, "--model", "org/nothing") == 2
    [sentence] = capsys.readouterr().err.splitlines()
    assert sentence.startswith(
        "diffusionad inspect: --model: The Hub has no `org/nothing`, or it is private;"
    )


def test_an_embedded_model_goes_by_its_name(inspect, pictures, out, tiny_model_folder, monkeypatch):
    monkeypatch.setattr("diffusionad.loading.bundled.ASSETS", tiny_model_folder.parent)
    assert inspect(pictures / "a", "--model", tiny_model_folder.name) == 0
    assert json_of(out)["model"] == tiny_model_folder.name


def test_a_run_that_fails_leaves_the_results_of_an_earlier_one_alone(
    inspect, pictures, out, tmp_path, capsys
):
    assert inspect(pictures) == 0
    before = json_of(out)
    corner = np.zeros((64, 64), dtype=np.uint8)
    corner[0, 0] = 255
    Image.fromarray(corner).save(tmp_path / "corner.png")
    assert inspect(pictures, "--roi", tmp_path / "corner.png", "--ignore-border", 20) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert json_of(out) == before
    assert {p.name for p in out.iterdir()} == {"results.csv", "results.json", "overlays"}


def test_broken_pictures_are_reported_and_the_others_inspected(inspect, pictures, out, capsys):
    (pictures / "a/0.png").write_bytes((pictures / "a/0.png").read_bytes()[:500])
    (pictures / "b/text.tif").write_text("this is no picture")
    (pictures / "b/header.ppm").write_bytes(b"P6\n\x94\x30 8\n255\n")
    assert inspect(pictures) == 0
    printed = capsys.readouterr()
    assert "6 pictures: " in printed.out and ", 3 could not be inspected" in printed.out
    assert len(printed.err.splitlines()) == 3
    assert f"{pictures / 'a/0.png'}: cannot be inspected: " in printed.err
    rows = {
        (out / row["file"]).resolve().relative_to(pictures.resolve()).as_posix(): row for row in rows_of(out)
    }
    broken = {name for name, row in rows.items() if row["verdict"] == "error"}
    assert broken == {"a/0.png", "b/text.tif", "b/header.ppm"}
    for name, row in rows.items():
        assert bool(row["error"]) == (name in broken) == (row["score"] == "") == (row["overlay"] == "")
    assert json_of(out)["summary"]["unreadable"] == 3


def test_a_picture_that_cannot_be_tiled_or_drawn_is_a_row_and_the_others_are_inspected(
    inspect, pictures, out, capsys, tiny_pipeline, tmp_path
):
    tiled = DiffusionADPipeline(
        **tiny_pipeline.components, image_size=64, resize_mode="tile", shorter_side=160
    )
    tiled.save_pretrained(tmp_path / "tiled")
    strip, long_name = pictures / "a/strip.png", pictures / f"a/{'x' * 246}.png"
    Image.new("RGB", (30_000, 8)).save(strip)
    Image.open(pictures / "a/0.png").save(long_name)  # its drawing would have a longer name than disks take
    assert inspect(pictures, "--model", tmp_path / "tiled") == 0
    rows = {(out / row["file"]).resolve(): row for row in rows_of(out)}
    assert {file for file, row in rows.items() if row["verdict"] == "error"} == {strip, long_name}
    assert rows[strip]["error"].startswith(f"`{strip}` is 30000 x 8 pixels and would be cut into tiles")
    assert "cannot be drawn" in rows[long_name]["error"]
    assert "image[0]" not in capsys.readouterr().err


def test_a_pipe_that_is_named_is_a_row(inspect, pictures, out):
    os.mkfifo(pictures / "pipe.png")
    assert inspect(pictures / "a/0.png", pictures / "pipe.png") == 0
    assert [bool(row["error"]) for row in rows_of(out)] == [False, True]


def test_broken_pictures_do_not_hide_an_anomaly(inspect, pictures):
    (pictures / "a/0.png").write_bytes(b"")
    assert inspect(pictures, "--threshold", 0, "--fail-on-anomaly") == 1


def test_nothing_but_broken_pictures_makes_the_exit_status_2(inspect, tmp_path, out, capsys):
    (tmp_path / "a.png").write_bytes(b"")
    (tmp_path / "b.png").write_bytes(b"no picture")
    assert inspect(tmp_path / "a.png", tmp_path / "b.png") == 2
    assert "none of the 2 pictures could be inspected" in capsys.readouterr().err
    assert [row["verdict"] for row in rows_of(out)] == ["error", "error"]


def test_the_json_file_says_what_was_run_and_how(inspect, pictures, out, tiny_model_folder, tiny_pipeline):
    assert inspect(pictures, "--min-region-area", 3) == 0
    report = json_of(out)
    calibration = tiny_pipeline.config.calibration
    assert report["model"] == str(tiny_model_folder)
    assert report["settings"]["min_region_area"] == 3 and report["settings"]["t_coarse"] == 400
    assert report["calibration"]["rate"] == calibration["rate"] and "scores" not in report["calibration"]
    assert set(report["versions"]) == {"diffusionad", "python", "torch", "diffusers", "numpy", "pillow"}
    assert report["summary"]["complete"]
    for result in report["results"]:
        assert result["threshold"] == calibration["threshold"]
        assert (result["false_alarm_rate"], result["n"]) == (calibration["rate"], 40)
        assert result["seconds"] > 0


def test_p_value_and_rate_are_left_out_where_they_would_not_hold(inspect, pictures, out, capsys):
    assert inspect(pictures, "--threshold", 0.4) == 0
    assert "it promises no false-alarm rate" in capsys.readouterr().out
    assert all(row["p_value"] and not row["false_alarm_rate"] for row in rows_of(out))
    assert inspect(pictures, "--t-fine", 100) == 0
    assert "it promises no false-alarm rate" in capsys.readouterr().out
    assert not any(row["p_value"] or row["false_alarm_rate"] or row["n"] for row in rows_of(out))


@pytest.mark.parametrize(
    ("verdict", "sentence"),
    [
        (
            Verdict(True, 0.8119, 0.431, 0.004, 0.01, 999),
            "DEFECTIVE score 0.812 > 0.431, p = 0.004 (false-alarm rate 1 %, n = 999)",
        ),
        (Verdict(False, 0.2, 0.431, 0.5, None, 40), "GOOD score 0.200 <= 0.431, p = 0.500 (n = 40)"),
        (Verdict(True, 0.43104, 0.431), "DEFECTIVE score 0.43104 > 0.43100"),
        (Verdict(False, 0.431, 0.431), "GOOD score 0.431 <= 0.431"),
        (Verdict(False, 0.44, 0.9999), "GOOD score 0.440 <= 0.9999"),  # not 1.000, which none could exceed
        (Verdict(True, 1.0, 0.99996), "DEFECTIVE score 1.000 > 0.99996"),
        (Verdict(True, 0.99999995, 0.926), "DEFECTIVE score 1.000 > 0.926"),
        (Verdict(True, 0.99999995, 0.999997), "DEFECTIVE score 1.000000 > 0.999997"),
        (Verdict(False, 0.9, 0.5), "GOOD score 0.900 > 0.500, but every region is too small"),
    ],
)
def test_a_verdict_is_a_sentence(verdict, sentence):
    assert str(verdict) == sentence


def test_settings_on_the_command_line_reach_the_pipeline(inspect, pictures, out, tiny_pipeline, tmp_path):
    mask = tmp_path / "mask.png"
    Image.fromarray(np.eye(20, dtype=np.uint8) * 255).save(mask)
    options = {
        "t_fine": 150,
        "t_coarse": 300,
        "guidance_weight": 0.5,
        "num_noise_samples": 2,
        "ignore_border": 4,
        "roi": mask,
    }
    arguments = [x for name, value in options.items() for x in (f"--{name.replace('_', '-')}", value)]
    assert inspect(pictures, *arguments) == 0
    expected = tiny_pipeline([pictures / name for name in NAMES], **options).score
    np.testing.assert_allclose([r["score"] for r in json_of(out)["results"]], expected, rtol=1e-5)
    assert (
        inspect(pictures, "--steps", 3, "--dtype", "bfloat16", "--threshold", 0, "--min-region-area", 10**6)
        == 0
    )
    assert {row["verdict"] for row in rows_of(out)} == {"good"}


def test_known_marks_are_in_both_files_(pictures, out, tiny_model_folder, tmp_path):
    pipeline, files = DiffusionADPipeline.from_pretrained(tiny_model_folder), [pictures / n for n in NAMES]
    learn_marks(pipeline, files[0])
    pipeline.save_pretrained(tmp_path / "with-marks")
    command = ["inspect", str(pictures), "--model", str(tmp_path / "with-marks"), "--output", str(out)]
    assert main(command) == 0
    expected = pipeline(files).known_marks
    assert expected[0]
    for marks, row, result in zip(expected, rows_of(out), json_of(out)["results"], strict=True):
        assert row["known_marks"] == str(len(marks)) == str(len(result["known_marks"]))
    assert json_of(out)["results"][0]["known_marks"][0]["peak"] == pytest.approx(expected[0][0].peak)


def test_what_an_earlier_run_has_drawn_is_not_inspected(inspect, pictures, out, capsys):
    assert inspect(pictures, "--output", pictures, "--panels") == 0
    assert inspect(pictures, "--output", pictures, "--panels") == 0
    assert "4 pictures: " in capsys.readouterr().out.splitlines()[-3]
    assert files_below(pictures / "overlays") == {"a/0.png", "a/1.jpg.png", "b/0.png", "b/deep/3.png"}
    assert inspect(pictures / "overlays", "--output", pictures) == 2


def test_pictures_whose_names_differ_in_the_suffix_get_drawings_of_their_own(inspect, pictures, out):
    names = ["x.bmp", "x.jpg", "x.jpg.png", "x.png", "x.y.png"]
    for name in names:
        Image.open(pictures / "a/0.png").save(pictures / "a" / name)
    assert inspect(pictures / "a") == 0
    assert len(files_below(out / "overlays")) == len({r["overlay"] for r in rows_of(out)}) == len(names) + 2


def test_quiet_prints_nothing_but_errors(inspect, pictures, capsys):
    (pictures / "a/0.png").write_bytes(b"")
    assert inspect(pictures, "--quiet", "--threshold", 0) == 0
    printed = capsys.readouterr()
    assert printed.out == ""
    assert len(printed.err.splitlines()) == 1 and "a/0.png: cannot be inspected" in printed.err


def test_serve_shows_the_screens_until_ctrl_c(tiny_model_folder):
    pytest.importorskip("gradio")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = start("serve", "--model", tiny_model_folder, "--port", port)
    try:
        assert f"http://127.0.0.1:{port}" in process.stdout.readline()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=300) as page:
            assert b"DiffusionAD" in page.read()
    finally:
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=300)
    assert process.returncode == 0 and "Traceback" not in stderr


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("missing", "`missing` is no folder, and the Hub lists no model"),
        ("a/b/c", "`a/b/c` is neither a folder"),
    ],
)
def test_serve_refuses_a_model_that_is_not_there(capsys, hub, name, sentence):
    assert main(["serve", "--model", name]) == 2
    assert sentence in capsys.readouterr().err


def test_pictures_are_read_only_shortly_before_their_turn(tiny_pipeline, pictures, out):
    later = pictures / "later.png"
    files = [pictures / "a/0.png"] * 5 + [later]
    results = Inspector(tiny_pipeline, out)(files, pictures)
    assert next(results).error is None
    assert files_below(out) == {"overlays/a/0.png"}
    Image.open(pictures / "b/0.png").save(later)
    assert [result.error for result in results] == [None] * 5


def test_a_batch_gives_the_results_of_single_pictures(tiny_pipeline, pictures, out):
    (pictures / "b/0.png").write_bytes(b"")
    files = [pictures / name for name in NAMES]
    inspector = Inspector(tiny_pipeline, out, overlays=False)
    singles = list(inspector(files, pictures))
    inspector.batch_size = 3  # as on a GPU
    batched = list(inspector(files, pictures))
    assert [(r.file, r.verdict, r.regions, r.error) for r in batched] == [
        (r.file, r.verdict, r.regions, r.error) for r in singles
    ]
    assert [r.word == "error" for r in batched] == [False, False, True, False]


def test_every_file_gets_a_line_also_a_good_one(inspect, pictures, capsys):
    assert inspect(pictures, "--threshold", 1) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("GOOD  ") for line in lines) == 4
    assert any(line.startswith("4 pictures: 0 defective, 4 good") for line in lines)


def test_a_report_is_moved_together_with_its_pictures(inspect, pictures, out):
    assert inspect(pictures) == 0
    for row in (*rows_of(out), *json_of(out)["results"]):
        assert not Path(row["file"]).is_absolute() and (out / row["file"]).is_file()
        assert row["overlay"].startswith("overlays/") and (out / row["overlay"]).is_file()


def test_a_file_name_is_no_formula_of_a_spreadsheet(tmp_path):
    name = "=HYPERLINK(1).png"
    with ResultWriter(tmp_path, {"model": "m"}, 1) as writer:
        writer.add(Result(Path(name), error="@broken"))
    [row] = rows_of(tmp_path)
    assert (row["file"], row["error"]) == (f"'{name}", "'@broken")
    assert json_of(tmp_path)["results"][0]["file"] == name


def test_a_person_at_a_terminal_reads_a_word_before_torch_is_loaded(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    announce("Loading fabric ...")
    assert capsys.readouterr().err == "Loading fabric ...\n"
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
    announce("Loading fabric ...")
    assert capsys.readouterr().err == ""
