import json
import shutil

import pytest
from safetensors.torch import load_file, save_file

from diffusionad import demo_model
from diffusionad.loading.fingerprint import WEIGHTS, pipeline_sha256


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(demo_model("fabric"), tmp_path / "fabric")


def edit_index(folder, **settings):
    path = folder / "model_index.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


def test_other_weights_have_another_hash(folder):
    before = pipeline_sha256(folder)
    path = folder / "segmenter" / WEIGHTS
    weights = load_file(path)
    name = next(iter(weights))
    save_file({**weights, name: weights[name] + 1}, path, metadata={"format": "pt"})
    assert pipeline_sha256(folder) != before


def test_settings_count_only_where_they_change_scores(folder):
    before = pipeline_sha256(folder)
    edit_index(folder, threshold=0.123, calibration=None)
    assert pipeline_sha256(folder) == before
    edit_index(folder, t_fine=111)
    assert pipeline_sha256(folder) != before


def test_a_setting_that_is_new_and_not_used_changes_no_hash(folder):
    before = pipeline_sha256(folder)
    edit_index(folder, shorter_side=None)
    assert pipeline_sha256(folder) == before
    edit_index(folder, shorter_side=512)
    assert pipeline_sha256(folder) != before


def test_the_similarity_of_marks_counts_where_marks_are_known(folder):
    before = pipeline_sha256(folder)
    edit_index(folder, mark_similarity=0.85)
    assert pipeline_sha256(folder) == before
    path = folder / "segmenter/config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"known_marks": 3}))
    with_marks = pipeline_sha256(folder)
    edit_index(folder, mark_similarity=0.9)
    assert len({before, with_marks, pipeline_sha256(folder)}) == 3


def test_a_folder_without_a_pipeline_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"model_index\.json"):
        pipeline_sha256(tmp_path)
