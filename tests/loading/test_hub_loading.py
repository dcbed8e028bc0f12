"""A model from the Hub: over HTTP, through the real client, for a stranger on the first try."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import warm_start
from loopback_hub import Fault

from diffusionad import DiffusionADPipeline
from diffusionad.loading.hub_models import MAX_EXAMPLES, fetch_extras, find_models
from diffusionad.loading.pretrained import find_folder

SCORES_IN_A_FRESH_PROCESS = """
import json, sys, numpy, torch
from diffusionad import DiffusionADPipeline
torch.set_num_threads(1)
pipeline = DiffusionADPipeline.from_pretrained("org/model", threshold=0.25)
output = pipeline(numpy.load(sys.argv[1]))
print(json.dumps({"scores": output.score.tolist(), "threshold": output.threshold}))
"""

NEEDED = {
    "model_index.json",
    "scheduler/scheduler_config.json",
    "segmenter/config.json",
    "segmenter/diffusion_pytorch_model.safetensors",
    "unet/config.json",
    "unet/diffusion_pytorch_model.safetensors",
}


@pytest.fixture(scope="session")
def files(tiny_model_folder: Path) -> dict[str, bytes]:
    """The files of the tiny model by path."""
    found = (path for path in tiny_model_folder.rglob("*") if path.is_file())
    return {path.relative_to(tiny_model_folder).as_posix(): path.read_bytes() for path in found}


@pytest.fixture
def load(tmp_path):
    """Load "org/model" into a cache of this test."""

    def load(repo_id: str = "org/model", **arguments) -> DiffusionADPipeline:
        return DiffusionADPipeline.from_pretrained(
            repo_id, **{"cache_dir": tmp_path / "cache", "token": False, **arguments}
        )

    return load


def with_threshold(files: dict[str, bytes], threshold: float) -> dict[str, bytes]:
    index = {**json.loads(files["model_index.json"]), "threshold": threshold, "calibration": None}
    return {**files, "model_index.json": json.dumps(index).encode()}


def downloaded(hub) -> set[str]:
    return {
        request.rpartition("/resolve/")[2].partition("/")[2]
        for request in hub.requests
        if "/resolve/" in request
    }


def run_fresh(pictures: Path, **environment: str) -> dict:
    command = [sys.executable, "-c", SCORES_IN_A_FRESH_PROCESS, str(pictures)]
    ran = warm_start.run(command, env=os.environ | environment)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def test_a_stranger_loads_from_the_hub_by_id_and_later_offline(
    hub, files, tiny_pipeline, make_pictures, tmp_path
):
    hub.add_model("org/model", files)
    pictures = np.stack(make_pictures(2))
    np.save(tmp_path / "pictures.npy", pictures)
    home = {"HF_HOME": str(tmp_path / "home")}
    fresh = run_fresh(tmp_path / "pictures.npy", **home)
    assert fresh == {"scores": tiny_pipeline(pictures).score.tolist(), "threshold": 0.25}
    hub.stop()
    assert run_fresh(tmp_path / "pictures.npy", **home, HF_HUB_OFFLINE="1") == fresh


def test_only_json_and_the_needed_weights_come_from_the_hub_and_no_code_runs(hub, files, load, tmp_path):
    bait = f"open({str(tmp_path / 'ran')!r}, 'w')\nraise SystemExit('code of the repository ran')\n".encode()
    hub.add_model(
        "org/model",
        {
            **files,
            "pipeline.py": bait,
            "segmenter/diffusionad.py": bait,
            "unet/diffusion_pytorch_model.bin": b"\x80\x04" + bait,
            "unet/diffusion_pytorch_model.fp16.safetensors": b"half",
            "a/b/config.json": b"{}",
            "README.md": b"# Model",
            "examples/good.png": b"\x89PNG\0",
        },
    )
    assert load().config.category == "noise"
    assert downloaded(hub) == NEEDED
    assert not (tmp_path / "ran").exists()


def test_a_revision_of_the_hub_is_a_branch_a_tag_or_a_commit(hub, files, load):
    repo = hub.add_model("org/model", with_threshold(files, 0.2))
    repo.refs["v1"] = first = repo.commits[-1].sha
    hub.add_model("org/other", with_threshold(files, 0.7))
    repo.commit("retrain", hub.model("org/other").files)
    assert load().config.threshold == 0.7
    for revision in ("v1", first):
        assert load(revision=revision).config.threshold == 0.2


def test_a_variant_and_a_dtype_are_loaded_from_the_hub(hub, files, load, tiny_model_folder, tmp_path):
    half = DiffusionADPipeline.from_pretrained(tiny_model_folder, dtype=torch.float16)
    half.save_pretrained(tmp_path / "half", variant="fp16")
    name = "diffusion_pytorch_model.fp16.safetensors"
    halves = {
        f"{part}/{name}": (tmp_path / "half" / part / name).read_bytes() for part in ("unet", "segmenter")
    }
    hub.add_model("org/model", {**files, **halves})
    pipeline = load(variant="fp16", dtype=torch.bfloat16)
    assert pipeline.dtype == torch.bfloat16
    assert {file for file in downloaded(hub) if file.endswith(".safetensors")} == halves.keys()


def test_a_variant_that_the_hub_does_not_have_is_named(hub, files, load):
    hub.add_model("org/model", files)
    with pytest.raises(FileNotFoundError) as error:
        load(variant="bf16")
    assert str(error.value) == (
        "`org/model` has no file `unet/diffusion_pytorch_model.bf16.safetensors`; load it without `variant`."
    )


@pytest.mark.parametrize("absent", sorted(NEEDED))
def test_a_file_missing_on_the_hub_is_named_with_repository_and_revision(hub, files, load, absent):
    hub.add_model("org/model", {path: data for path, data in files.items() if path != absent})
    with pytest.raises(FileNotFoundError, match=rf"^`org/model` \(revision main\) has no file `{absent}`; "):
        load(revision="main")


def test_a_private_model_of_the_hub_needs_the_right_token(hub, files, load):
    hub.add_model("org/model", files, private=True)
    for token in (False, "hf_mallory"):
        with pytest.raises(
            FileNotFoundError, match=r"^The Hub has no `org/model`, or it is private; .*auth login"
        ):
            load(token=token)
    assert load(token="hf_alice").config.category == "noise"


def test_a_gated_model_of_the_hub_says_that_access_must_be_asked_for(hub, files, load):
    hub.add_model("org/model", files, gated=True)
    with pytest.raises(PermissionError, match=r"^`org/model` is gated: ask for access on its page"):
        load()
    assert load(token="hf_alice").config.category == "noise"


def test_a_repository_or_revision_missing_on_the_hub_is_named(hub, files, load):
    hub.add_model("org/model", files)
    with pytest.raises(
        FileNotFoundError, match=r"^The Hub has no `org/absent`, or it is private; check the name"
    ):
        load("org/absent")
    with pytest.raises(
        FileNotFoundError, match=r"^`org/model` \(revision v9\) has no such revision; give a branch"
    ):
        load(revision="v9")


def test_another_kind_of_model_of_the_hub_is_refused(hub, load):
    hub.add_model("org/language", {"config.json": b"{}"})
    with pytest.raises(
        FileNotFoundError, match=r"^`org/language` has no file `model_index\.json`; it is not a Diff"
    ):
        load("org/language")


def test_the_hub_is_not_asked_for_what_may_come_from_the_cache_only(hub, files, load):
    hub.add_model("org/model", files)
    with pytest.raises(
        FileNotFoundError, match=r"^The Hub cannot be reached \(`local_files_only` is set\), and `org"
    ):
        load(local_files_only=True)
    assert hub.requests == []
    load()
    hub.stop()
    assert load(local_files_only=True).config.category == "noise"
    assert load().config.category == "noise"  # out of reach, but in the cache


def test_without_the_hub_and_without_a_cache_the_reason_is_given(load):
    with pytest.raises(FileNotFoundError, match=r"^The Hub cannot be reached \(.+\), and `org/model` is not"):
        load()


def test_a_download_from_the_hub_that_breaks_off_goes_on(hub, files, load):
    hub.add_model("org/model", files)
    hub.faults.append(Fault("GET .*/unet/.*safetensors", "break"))
    assert load().config.category == "noise"
    assert hub.faults[0].times == 0


def test_a_truncated_download_from_the_hub_is_detected_and_not_kept(hub, files, load):
    hub.add_model("org/model", files)
    hub.faults.append(Fault("GET .*/unet/.*safetensors", "truncate"))
    with pytest.raises(
        OSError, match=r"^The Hub did not deliver `org/model` \(Consistency check failed.*try again"
    ):
        load()
    assert load().config.category == "noise"


def test_a_damaged_file_in_the_cache_of_the_hub_says_what_to_delete(hub, files, load, tmp_path):
    hub.add_model("org/model", {**files, "unet/diffusion_pytorch_model.safetensors": b"<html>\0</html>"})
    with pytest.raises(
        ValueError, match=r"unet/diff.*safetensors` cannot be loaded .*delete `(.+)` and load it"
    ) as e:
        load()
    advised = Path(str(e.value).rpartition("delete `")[2].partition("`")[0])
    assert advised == tmp_path / "cache" / "models--org--model" and advised.is_dir()


def test_figures_and_examples_come_from_the_hub_on_request_and_in_bounds(hub, files, tmp_path):
    pictures = {f"examples/good_{i:02}.png": b"\x89PNG\0" + bytes([i]) for i in range(MAX_EXAMPLES + 3)}
    others = {"examples/notes.txt": b"text", "examples/00_huge.png": bytes(5_000_001), "metrics.json": b"{}"}
    hub.add_model("org/model", {**files, **pictures, **others})
    folder = find_folder("org/model", None, None, False, tmp_path, local_files_only=False)
    assert not (folder / "examples").exists()
    fetch_extras("org/model", folder, token=False)
    found = {f"examples/{p.name}": p.read_bytes() for p in folder.glob("examples/*")}
    assert found == dict(sorted(pictures.items())[:MAX_EXAMPLES])
    assert (folder / "metrics.json").read_bytes() == b"{}"


def test_a_model_of_the_hub_may_have_neither_figures_nor_examples(hub, files, tmp_path, caplog):
    hub.add_model("org/model", files)
    folder = find_folder("org/model", None, None, False, tmp_path, local_files_only=False)
    fetch_extras("org/model", folder, token=False)
    hub.stop()
    fetch_extras("org/model", folder, token=False)
    assert not (folder / "examples").exists() and caplog.records == []


CARD = b"---\nlibrary_name: diffusers\ntags:\n- diffusionad\n---\n"


def test_an_organisation_of_the_hub_stands_for_its_models(hub):
    for name in ("org/b", "org/a", "alice/c"):
        hub.add_model(name, {"README.md": CARD})
    hub.add_model("org/language", {"README.md": b"---\ntags:\n- llm\n---\n"})
    hub.add_model("org/secret", {"README.md": CARD}, private=True)
    assert find_models("org", token=False) == ["org/a", "org/b"]
    assert find_models("org", token="hf_alice") == ["org/a", "org/b", "org/secret"]
    with pytest.raises(
        FileNotFoundError, match=r"^`nobody` is no folder, and the Hub lists no model with the tag"
    ):
        find_models("nobody", token=False)


def test_folders_and_ids_stand_for_themselves_and_the_hub_is_not_asked(hub, tmp_path):
    assert find_models(str(tmp_path)) == [str(tmp_path)]
    assert find_models("org/name") == ["org/name"]
    assert hub.requests == []


def test_the_app_offers_folders_ids_and_what_an_organisation_has_on_the_hub(
    hub, files, tiny_model_folder, monkeypatch, caplog
):
    models = pytest.importorskip("diffusionad.ui.serving.model_registry")
    hub.add_model("org/a", {**files, "README.md": CARD, "examples/hole.png": b"\x89PNG\0"})
    monkeypatch.setattr(models, "demo_models", list)
    monkeypatch.setenv("DIFFUSIONAD_MODELS", f"alice/c, org, {tiny_model_folder}, nobody")
    registry = models.ModelRegistry()
    assert registry.names() == ["alice/c", "org/a", tiny_model_folder.name]
    model = registry.get("org/a")
    assert model.pipeline.config.category == "noise"
    assert [path.name for path in model.examples()] == ["hole.png"]
    assert "Not offered: `nobody` is no folder" in caplog.text
