"""The watch: every finished picture once, whatever happens to the file, the folder or the process."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import warm_start
from PIL import Image
from watch_script import Script, nothing

from diffusionad.cli.main import main
from diffusionad.inspection.inspector import Inspector
from diffusionad.line.watch import PATIENCE, WatchLog, watch


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "incoming"
    folder.mkdir()
    return folder


@pytest.fixture
def png(tmp_path: Path, make_pictures) -> bytes:
    Image.fromarray(make_pictures(1)[0]).save(tmp_path / "picture.png")
    return (tmp_path / "picture.png").read_bytes()


@pytest.fixture
def follow(tiny_pipeline, folder: Path, tmp_path: Path, capsys) -> Callable[..., list[dict]]:
    """Watch the folder while the steps happen: (steps) -> the printed lines; `.errors` is the stderr."""
    out = tmp_path / "out"
    out.mkdir()

    def call(*steps: Callable[[], object]) -> list[dict]:
        inspector = Inspector(tiny_pipeline, out, overlays=False)
        log = WatchLog(out / "watched.jsonl")
        watch(
            folder,
            log,
            lambda files: inspector(files, folder),
            Script(list(steps)),
            ignore=[folder / "drawn"],
        )
        printed = capsys.readouterr()
        call.errors = printed.err
        return [json.loads(line) for line in printed.out.splitlines()]

    return call


def names(lines: list[dict]) -> list[str]:
    return [Path(line["file"]).name for line in lines]


def test_a_picture_is_inspected_once(follow, folder, png, tiny_pipeline, tmp_path):
    (folder / "early.png").write_bytes(png)
    lines = follow(nothing, lambda: (folder / "late.png").write_bytes(png), nothing, nothing, nothing)
    assert names(lines) == ["early.png", "late.png"]
    score = float(tiny_pipeline(folder / "early.png").score[0])
    assert [line["score"] for line in lines] == [score, score]
    logged = (tmp_path / "out/watched.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in logged] == lines
    status = (folder / "late.png").stat()
    assert (lines[1]["mtime_ns"], lines[1]["size"]) == (status.st_mtime_ns, status.st_size)


def test_a_file_that_still_grows_is_left_alone(follow, folder, png):
    file = folder / "slow.png"
    pieces = [png[: len(png) * i // 8] for i in range(1, 9)]
    lines = follow(*[lambda piece=piece: file.write_bytes(piece) for piece in pieces])
    assert lines == []
    assert names(follow(nothing)) == ["slow.png"]


def test_a_file_whose_writer_pauses_is_tried_again(follow, folder, png):
    file = folder / "pause.png"
    lines = follow(
        lambda: file.write_bytes(png[:400]),
        *[nothing] * (PATIENCE - 1),
        lambda: file.write_bytes(png),
        nothing,
        nothing,
    )
    assert [(line["verdict"], line["error"]) for line in lines] in ([("good", None)], [("defective", None)])


def test_a_broken_file_is_reported_once(follow, folder):
    (folder / "broken.png").write_bytes(b"no picture")
    assert follow(*[nothing] * (PATIENCE - 1)) == []
    [line] = follow(*[nothing] * (3 * PATIENCE))
    assert line["verdict"] == "error" and "no picture that Pillow can read" in line["error"]
    assert follow(*[nothing] * (3 * PATIENCE)) == []


def test_a_pipe_is_no_picture(follow, folder, png):
    os.mkfifo(folder / "pipe.png")
    (folder / "part.png").write_bytes(png)
    assert names(follow(*[nothing] * (PATIENCE + 2))) == ["part.png"]


def test_a_picture_that_cannot_be_tiled_is_reported_once_and_stops_nothing(
    fresh_pipeline, folder, png, tmp_path, capsys
):
    fresh_pipeline.configure(resize_mode="tile", shorter_side=160)
    Image.new("RGB", (30_000, 8)).save(folder / "strip.png")
    (folder / "part.png").write_bytes(png)
    for round_ in range(2):  # a restart does not meet it again
        inspector = Inspector(fresh_pipeline, tmp_path, overlays=False)
        log, script = WatchLog(tmp_path / "watched.jsonl"), Script([nothing] * (PATIENCE + 2))
        watch(folder, log, lambda files, inspector=inspector: inspector(files, folder), script)
        lines = {Path(x["file"]).name: x for x in map(json.loads, capsys.readouterr().out.splitlines())}
        assert set(lines) == ({"part.png", "strip.png"} if round_ == 0 else set())
        if round_ == 0:
            assert lines["strip.png"]["error"].startswith(f"`{folder / 'strip.png'}` is 30000 x 8 pixels")


def test_a_file_that_is_overwritten_is_a_new_one(follow, folder, png, make_pictures):
    file = folder / "part.png"
    file.write_bytes(png)
    other = Image.fromarray(make_pictures(1, side=70, seed=5)[0])
    lines = follow(nothing, lambda: other.save(file), nothing, nothing)
    assert names(lines) == ["part.png"] * 2
    assert lines[0]["score"] != lines[1]["score"]


def test_a_file_that_changes_while_it_is_inspected_is_inspected_again(
    tiny_pipeline, folder, png, tmp_path, capsys
):
    file = folder / "part.png"
    file.write_bytes(png)
    inspector, calls = Inspector(tiny_pipeline, tmp_path, overlays=False), []

    def inspect_and_touch(files):
        for result in inspector(files, folder):
            calls.append(result)
            if len(calls) == 1:
                os.utime(file, ns=(1, 1))
            yield result

    watch(folder, WatchLog(tmp_path / "w.jsonl"), inspect_and_touch, Script([nothing] * 4))
    [line] = capsys.readouterr().out.splitlines()
    assert len(calls) == 2 and json.loads(line)["mtime_ns"] == 1


def test_a_restart_neither_repeats_nor_skips(follow, folder, png):
    (folder / "a.png").write_bytes(png)
    assert names(follow(nothing)) == ["a.png"]
    (folder / "while_down.png").write_bytes(png)
    assert names(follow(nothing, nothing)) == ["while_down.png"]
    assert follow(nothing, nothing) == []


@pytest.mark.parametrize("left", [1, 40, -1])
def test_a_half_written_last_line_is_dropped_and_its_picture_inspected_again(
    follow, folder, png, tmp_path, left
):
    for name in ("a.png", "b.png"):
        (folder / name).write_bytes(png)
    [_, last] = names(follow(nothing))
    log = tmp_path / "out/watched.jsonl"
    first_line, last_line = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(first_line + last_line[:left])
    assert names(follow(nothing)) == [last]
    assert len([json.loads(line) for line in log.read_bytes().splitlines()]) == 2
    assert follow(nothing) == []


def test_a_damaged_line_within_the_log_costs_one_repetition(follow, folder, png, tmp_path, capsys):
    for name in ("a.png", "b.png"):
        (folder / name).write_bytes(png)
    follow(nothing)
    log = tmp_path / "out/watched.jsonl"
    first, second = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"\0" * 30 + b"\n" + second)
    log_again = WatchLog(log)
    assert "has a damaged line" in capsys.readouterr().err
    assert log_again.path == log
    assert names(follow(nothing)) == [Path(json.loads(first)["file"]).name]


def test_folders_below_are_watched_but_not_hidden_ignored_or_other_files(follow, folder, png):
    for name in (
        "below/a.png",
        "drawn/a.png",
        ".hidden/a.png",
        "@eaDir/a.png",
        ".partial.png",
        "a.png.tmp",
        "notes.txt",
        "A.PNG",
    ):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(png)
    assert {Path(line["file"]).relative_to(folder).as_posix() for line in follow(nothing)} == {
        "below/a.png",
        "A.PNG",
    }


def test_files_and_folders_may_vanish_and_come_back(follow, folder, png):
    (folder / "a.png").write_bytes(png)
    away = folder.with_name("away")
    lines = follow(
        lambda: (folder / "a.png").unlink(),
        lambda: shutil.move(folder, away),
        nothing,
        lambda: ((away / "b.png").write_bytes(png), shutil.move(away, folder)),
        nothing,
        nothing,
    )
    assert names(lines) == ["b.png"]
    assert follow.errors.splitlines() == [f"`{folder}` is gone; waiting for it.", f"`{folder}` is back."]


def test_oldest_pictures_come_first(follow, folder, png):
    for i in range(8):
        (folder / f"{i}.png").write_bytes(png)
        os.utime(folder / f"{i}.png", (1000 + i * 3 % 8, 1000 + i * 3 % 8))
    assert names(follow(nothing)) == [f"{i}.png" for i in sorted(range(8), key=lambda i: i * 3 % 8)]


class Watcher:
    """The real command in a process of its own; its lines are collected as they come."""

    def __init__(self, folder: Path, model: Path, out: Path):
        arguments = ["watch", folder, "--model", model, "--output", out, "--interval", 0.1]
        self.process = warm_start.start(
            [sys.executable, "-m", "diffusionad.cli.main", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines: list[dict] = []
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stdout:
            with self._news:
                self.lines.append(json.loads(line))
                self._news.notify()

    def wait_for(self, *wanted: str) -> None:
        with self._news:
            assert self._news.wait_for(lambda: set(wanted) <= set(names(self.lines)), timeout=300), self.lines

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        self._reader.join(timeout=300)
        self.process.stderr.close()
        return self.process.wait(timeout=300)


def test_the_command_survives_kill_and_ends_cleanly_on_sigterm(tiny_model_folder, folder, png, tmp_path):
    out = tmp_path / "out"
    for i in range(40):
        (folder / f"{i}.png").write_bytes(png)
    first = Watcher(folder, tiny_model_folder, out)
    first.wait_for("3.png")
    assert first.end(signal.SIGKILL) == -signal.SIGKILL
    assert len(first.lines) < 40

    with open(out / "watched.jsonl", "ab") as log:
        log.write(b'{"file": "half')
    (folder / "while_down.png").write_bytes(png)
    (folder / "broken.png").write_bytes(png[:300])
    second = Watcher(folder, tiny_model_folder, out)
    second.wait_for("while_down.png", "broken.png", "39.png")
    (folder / "live.png").write_bytes(png)
    second.wait_for("live.png")
    assert second.end(signal.SIGTERM) == 0

    everything = {*(f"{i}.png" for i in range(40)), "while_down.png", "broken.png", "live.png"}
    logged = [json.loads(line) for line in (out / "watched.jsonl").read_bytes().splitlines()]
    assert Counter(names(logged)) == Counter(everything)
    assert set(names(first.lines + second.lines)) == everything
    # The one picture that was being written down when the kill came may be printed twice, never not at all.
    assert len(first.lines + second.lines) - len(everything) in (0, 1)
    assert {n for n, line in zip(names(logged), logged, strict=True) if line["error"]} == {"broken.png"}
    assert {p.name for p in (out / "overlays").iterdir()} == everything - {"broken.png"}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("missing", "`missing` is no folder."),
        (". --interval 0", "--interval is 0; give a number of seconds above 0."),
        (". --model missing --output OUT", "--model: `missing` is neither a folder"),
    ],
)
def test_a_watch_that_cannot_start_says_why_in_one_sentence(arguments, sentence, tmp_path, capsys):
    given = f"watch --model m --output OUT {arguments}".replace("OUT", str(tmp_path / "out"))
    assert main(given.split()) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("diffusionad watch: ") and sentence in line
