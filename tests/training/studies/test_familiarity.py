"""Which pictures a model does not take for its part, counted by kind."""

import json
from pathlib import Path

from small_runs import write_squares

from training.studies import familiarity


def test_each_kind_of_picture_is_counted_and_each_model_is_a_column(
    tiny_model_folder: Path, tmp_path: Path, capsys, monkeypatch
) -> None:
    monkeypatch.setattr(familiarity, "ALTERED", 1)
    monkeypatch.setattr(familiarity, "MADE_UP", 1)
    data, more, output = write_squares(tmp_path / "a"), write_squares(tmp_path / "b", seed=1), tmp_path / "f"
    other = {"promised_rate": 0.01, "kinds": {"black": {"role": "foreign", "n": 9, "refused": 8}}}
    output.with_suffix(".json").write_text(json.dumps({"other": other}))
    words = ["--data", str(data), "--model", str(tiny_model_folder), "--output", str(output), "--limit", "1"]
    for calibration in (data / "train", more / "test/good"):  # 20 pictures
        words += ["--calibration", str(calibration)]
    assert familiarity.main([*words, "--name", "squares", "--foreign", f"others={more / 'train'}"]) == 0
    models = json.loads(output.with_suffix(".json").read_text())
    assert list(models) == ["other", "squares"] and models["other"] == other
    kinds = models["squares"]["kinds"]
    assert kinds["others"] == {"role": "foreign", "n": 1, "refused": 0}
    for nothing in ("black", "noise", "nearly white"):
        assert kinds[nothing]["refused"] == kinds[nothing]["n"] > 0
    table = output.with_suffix(".md").read_text()
    assert table in capsys.readouterr().out and "| black | 8 of 9 | 1 of 1 |" in table


def test_a_model_that_has_not_learned_its_part_is_refused(tiny_model_folder, tmp_path, capsys):
    words = ["--data", str(write_squares(tmp_path)), "--model", str(tiny_model_folder)]
    assert familiarity.main([*words, "--output", str(tmp_path / "figures")]) == 2
    assert "give 20 or more --calibration" in capsys.readouterr().err
