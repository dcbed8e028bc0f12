"""Very many pictures: results on the disk, part by part, continued where a run was stopped."""

import json
from pathlib import Path

import pytest
from PIL import Image

from diffusionad.cli.main import main
from diffusionad.deploy.at_scale import HEAD, Worker, inspect_at_scale, read_done

parquet = pytest.importorskip("pyarrow.parquet")


def rows_of(output: Path) -> dict[str, dict]:
    rows = [row for part in output.glob("part-*.parquet") for row in parquet.read_table(part).to_pylist()]
    assert len({row["file"] for row in rows}) == len(rows)
    return {Path(row["file"]).name: row for row in rows}


def test_a_worker_keeps_a_row_for_every_picture_broken_ones_with_their_sentence(
    tiny_pipeline, make_pictures, tmp_path
):
    Image.fromarray(make_pictures(1)[0]).save(tmp_path / "part.png")
    (tmp_path / "broken.png").write_bytes(b"-")
    files = [str(tmp_path / name) for name in ("part.png", "broken.png", "missing.png")]
    counted = Worker(lambda: tiny_pipeline, tmp_path, 8)({"file": files})
    assert sum(counted["count"]) == 3
    rows = rows_of(tmp_path)
    assert rows["part.png"]["score"] == tiny_pipeline(files[0]).score[0]
    assert isinstance(json.loads(rows["part.png"]["regions"]), list) and rows["part.png"]["error"] is None
    assert "no picture that Pillow can read" in rows["broken.png"]["error"]
    assert rows["missing.png"]["verdict"] == "error"
    counts, done = read_done(tmp_path)
    assert done == set(files) and counts["error"] == 2 and counts.total() == 3


def test_results_of_another_model_are_not_continued(tiny_pipeline, tmp_path):
    (tmp_path / HEAD).write_text('{"weights_sha256": "0", "settings_sha256": "0"}')
    pytest.importorskip("ray", reason="the extra `scale` is not installed")
    with pytest.raises(ValueError, match="holds results of other weights; give another --output"):
        inspect_at_scale([], lambda: tiny_pipeline, "tiny", tmp_path)


@pytest.mark.slow
def test_two_workers_inspect_2000_pictures_and_a_second_run_only_what_is_new(
    tiny_model_folder, tiny_pipeline, make_pictures, tmp_path, capsys
):
    ray = pytest.importorskip("ray", reason="the extra `scale` is not installed")
    folder, output = tmp_path / "pictures", tmp_path / "out"
    folder.mkdir()
    for i, pixels in enumerate(make_pictures(2000)):
        Image.fromarray(pixels).save(folder / f"{i:04d}.png")
    broken = [f"{i:04d}.png" for i in range(0, 2000, 100)]
    for name in broken:
        (folder / name).write_bytes(b"-")
    command = ["inspect", str(folder), "--model", str(tiny_model_folder), "--output", str(output)]
    try:
        assert main([*command, "--engine", "ray", "--workers", "2"]) == 0
        rows = rows_of(output)
        assert len(rows) == 2000 and sorted(name for name, row in rows.items() if row["error"]) == broken
        for name in ("0001.png", "0999.png", "1999.png"):
            assert rows[name]["score"] == tiny_pipeline(folder / name).score[0]
        parts = sorted(output.glob("part-*.parquet"))
        lost = parquet.read_table(parts[0]).num_rows
        parts[0].unlink()  # as if the run had been stopped before
        kept = {part: part.stat().st_mtime_ns for part in parts[1:]}
        assert main([*command, "--engine", "ray", "--workers", "2"]) == 0
        assert {part: part.stat().st_mtime_ns for part in kept} == kept
        assert len(rows_of(output)) == 2000 and lost > 0
        assert "2000 pictures: 20 error, " in capsys.readouterr().out
    finally:
        ray.shutdown()
