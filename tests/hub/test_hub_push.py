"""From a run to repositories on the Hub: the real client pushes to a Hub on loopback, and strangers load."""

import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
import warm_start
from huggingface_hub import CommitOperationAdd, HfApi
from loopback_hub import Fault
from PIL import Image
from places import ROOT

from diffusionad import DiffusionADPipeline, learn_features, learn_marks
from diffusionad.loading.fingerprint import pipeline_sha256
from hub import push_model, push_space
from hub.push_model import main

URL = "https://example.org/diffusionad"
FILES = {
    "README.md",
    "config.toml",
    "metrics.json",
    "model_index.json",
    "pipeline.py",
    "scheduler/scheduler_config.json",
    "segmenter/config.json",
    "segmenter/diffusion_pytorch_model.fp16.safetensors",
    "segmenter/diffusion_pytorch_model.safetensors",
    "segmenter/diffusionad.py",
    "unet/config.json",
    "unet/diffusion_pytorch_model.fp16.safetensors",
    "unet/diffusion_pytorch_model.safetensors",
}


@pytest.fixture
def push(monkeypatch):
    """Run `hub.push_model` as alice, with what it needs to know about the tiny model."""
    monkeypatch.setenv("HF_TOKEN", "hf_alice")

    def push(run: Path, *arguments: object, repo: str = "org/model") -> int:
        known = ["--project-url", URL, "--dataset", "Rendered noise", "--license", "cc-by-4.0"]
        return main(["--run", str(run), "--repo-id", repo, *known, *map(str, arguments)])

    return push


def pushed(hub, repo_id: str = "org/model") -> dict[str, bytes]:
    return {path: blob.data for path, blob in hub.model(repo_id).files.items() if path != ".gitattributes"}


def titles(hub, repo_id: str = "org/model") -> list[str]:
    return [commit.title for commit in hub.model(repo_id).commits[1:]]


def edit_json(path: Path, **values: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_a_pushed_run_is_loaded_by_id_with_the_same_verdicts(
    hub, push, run, tiny_pipeline, make_pictures, tmp_path
):
    assert push(run) == 0
    assert pushed(hub).keys() == FILES
    loaded = DiffusionADPipeline.from_pretrained("org/model", cache_dir=tmp_path / "cache")
    expected = tiny_pipeline(make_pictures(3))
    np.testing.assert_array_equal(loaded(make_pictures(3)).score, expected.score)
    half = DiffusionADPipeline.from_pretrained("org/model", cache_dir=tmp_path / "cache", variant="fp16")
    np.testing.assert_allclose(half(make_pictures(3)).score, expected.score, atol=2e-3)


def test_a_second_push_of_the_same_run_makes_no_commit(hub, push, run, capsys):
    assert push(run) == push(run) == 0
    assert titles(hub) == ["Publish model"]
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.endswith("/org/model")] == [
        f"Published: {hub.url}/org/model",
        f"Unchanged: {hub.url}/org/model",
    ]


def test_a_push_brings_card_and_weights_in_one_commit_and_removes_what_went(
    hub, push, run, tmp_path, make_pictures
):
    Image.fromarray(make_pictures(1, side=70)[0][:50]).save(tmp_path / "scratch.png")
    for name in ("scores.png", "cases_worst.png"):
        (run / "figures").mkdir(exist_ok=True)
        (run / "figures" / name).write_bytes(b"\x89PNG\0")
    assert push(run, "--examples", tmp_path / "scratch.png") == 0
    notes = CommitOperationAdd("NOTES.md", b"mine")
    HfApi().create_commit("org/model", [notes], commit_message="notes")
    added = {"examples/scratch.png", "panel.png", "figures/scores.png", "NOTES.md"}
    assert pushed(hub).keys() == FILES | added  # not the pictures of cases, which are somebody's
    shutil.rmtree(run / "figures")
    edit_json(run / "metrics.json", detection_rate=0.5)
    assert push(run) == 0
    assert pushed(hub).keys() == FILES | {"NOTES.md"}
    assert titles(hub) == ["Publish model", "notes", "Publish model"]
    for commit in hub.model("org/model").commits:
        assert ("README.md" in commit.files) == ("unet/diffusion_pytorch_model.safetensors" in commit.files)


def test_a_push_goes_on_when_the_hub_dies_and_comes_back(hub, push, run, capsys):
    hub.faults.append(Fault("PUT /lfs/", "die"))
    status = push(run)
    assert hub.faults[0].times == 0
    if status != 0:  # older clients do not try again by themselves
        assert "run the same command again" in capsys.readouterr().err
        assert push(run) == 0
    assert pushed(hub).keys() == FILES


def test_a_push_goes_on_when_one_upload_closes_the_connection_of_another(hub, push, run, monkeypatch):
    create_commit, calls = HfApi.create_commit, []

    def closed_twice(self, *args, **kwargs):
        calls.append(kwargs)
        if len(calls) < 3:
            closed = RuntimeError("Cannot send a request, as the client has been closed.")
            raise RuntimeError("Error while uploading 'unet/weights' to the Hub.") from closed
        return create_commit(self, *args, **kwargs)

    monkeypatch.setattr(HfApi, "create_commit", closed_twice)
    assert push(run) == 0
    assert len(calls) == 3
    assert pushed(hub).keys() == FILES


def test_a_push_that_broke_off_is_continued_by_the_same_command(hub, push, run, capsys):
    hub.faults.append(Fault("POST .*/commit/main", "drop"))
    assert push(run) == 2
    *bars, error = capsys.readouterr().err.splitlines()  # the client shows how far each file is
    assert error.startswith("python -m hub.push_model: The push to `org/model` broke off")
    assert not [line for line in bars if "Traceback" in line or "Error" in line]
    assert pushed(hub) == {}  # nobody sees half a model
    assert len(hub.stored) == 4
    hub.requests.clear()
    assert push(run) == 0
    assert not [request for request in hub.requests if request.startswith("PUT")]
    assert pushed(hub).keys() == FILES


def test_a_private_push_is_seen_by_its_owners_only(hub, push, run, tmp_path):
    assert push(run, "--private") == 0
    with pytest.raises(FileNotFoundError, match="or it is private"):
        DiffusionADPipeline.from_pretrained("org/model", cache_dir=tmp_path, token=False)
    assert DiffusionADPipeline.from_pretrained("org/model", cache_dir=tmp_path, token="hf_alice")


def test_a_private_push_to_a_public_repository_is_refused(hub, push, run, capsys):
    hub.add_model("org/model", {"README.md": b"here before"})
    assert push(run, "--private") == 2
    assert "`--private`: `org/model` exists, and everybody sees it" in capsys.readouterr().err
    assert pushed(hub).keys() == {"README.md"}


@pytest.mark.parametrize(
    ("token", "sentence"),
    [
        ("", "(401: "),
        ("hf_mallory", "(403: No rights to create org/model)"),
        ("hf_wrong", "(401: Invalid cred"),
    ],
)
def test_a_push_without_the_right_token_says_what_to_do(hub, push, run, capsys, monkeypatch, token, sentence):
    monkeypatch.setenv("HF_TOKEN", token)
    assert push(run) == 2
    error = capsys.readouterr().err
    assert sentence in error and len(error.splitlines()) == 1
    assert hub.repos == {}


def test_a_dry_run_pushes_nothing_and_writes_what_would_be_pushed(hub, push, run, tmp_path, capsys):
    assert push(run, "--dry-run", "--output", tmp_path / "repo") == 0
    assert hub.requests == []
    printed = capsys.readouterr().out
    assert "Nothing was pushed." in printed
    written = {
        p.relative_to(tmp_path / "repo").as_posix() for p in (tmp_path / "repo").rglob("*") if p.is_file()
    }
    assert written == FILES
    for name in FILES:
        assert f"  {name}  " in printed
    assert push(run) == 0
    assert pushed(hub) == {name: (tmp_path / "repo" / name).read_bytes() for name in FILES}


def test_a_push_needs_figures(hub, push, run, capsys):
    edit_json(run / "metrics.json", image_auroc=None)
    metrics = json.loads((run / "metrics.json").read_text())
    del metrics["image_auroc"]
    (run / "metrics.json").write_text(
        json.dumps({**metrics, "absent": {"image_auroc": "no defective test picture"}})
    )
    assert push(run) == 2
    assert "has no image AUROC (no defective test picture)" in capsys.readouterr().err
    (run / "metrics.json").unlink()
    assert push(run) == 2
    assert (
        "metrics.json` is missing; measure it first: diffusionad evaluate --model" in capsys.readouterr().err
    )
    assert hub.requests == []


def test_a_weak_model_is_published_only_with_consent(hub, push, run, tmp_path, capsys):
    edit_json(run / "metrics.json", image_auroc={"value": 0.55})
    assert push(run) == 2
    assert "The image AUROC is 0.55, where 0.5 is chance" in capsys.readouterr().err
    assert push(run, "--yes-publish-weak", "--dry-run", "--output", tmp_path / "repo") == 0
    assert "This model is weak" in (tmp_path / "repo/README.md").read_text()


def test_a_model_of_good_pictures_only_is_published_without_a_figure_on_defects(push, run, tmp_path):
    metrics = json.loads((run / "metrics.json").read_text())
    for name in ("image_auroc", "image_ap", "image_f1_max", "pixel_auroc", "aupro", "detection_rate"):
        del metrics[name]
    metrics |= {"n_defective": 0, "per_defect": {}}
    (run / "metrics.json").write_text(json.dumps(metrics))
    assert push(run, "--dry-run", "--output", tmp_path / "repo") == 0
    assert "Not measured on defects" in (tmp_path / "repo/README.md").read_text()


@pytest.mark.parametrize("changed", ["weights", "settings", "figures"])
def test_a_push_needs_figures_of_these_weights(hub, push, run, capsys, changed):
    if changed == "weights":
        path = run / "pipeline/unet/diffusion_pytorch_model.safetensors"
        path.write_bytes(path.read_bytes()[:-1] + b"\x00")
    elif changed == "settings":
        edit_json(run / "pipeline/model_index.json", t_fine=150)
    else:
        edit_json(run / "metrics.json", pipeline_sha256=None)
    assert push(run) == 2
    assert "was measured with other weights or settings" in capsys.readouterr().err
    assert hub.requests == []


def test_a_push_needs_finite_figures(hub, push, run, capsys):
    edit_json(run / "metrics.json", aupro={"value": float("nan"), "interval": [0.0, 1.0]})
    assert push(run) == 2
    assert "`metrics.json: aupro: value` is nan; only finite figures" in capsys.readouterr().err
    assert hub.requests == []


@pytest.fixture
def write_metadata(monkeypatch, tmp_path):
    """Function (lines) that makes them the metadata of the installed package."""

    def write(*lines: str) -> None:
        folder = tmp_path / "site/diffusionad-9.0.dist-info"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "METADATA").write_text("\n".join(["Metadata-Version: 2.4", "Name: diffusionad", *lines]))
        monkeypatch.syspath_prepend(str(folder.parent))

    return write


def test_a_push_takes_the_address_of_the_project_from_the_installed_package(
    hub, run, capsys, tmp_path, write_metadata
):
    arguments = ["--run", str(run), "--repo-id", "org/model", "--dataset", "visa", "--dry-run"]
    arguments += ["--output", str(tmp_path / "a")]
    write_metadata("Version: 9.0", "Project-URL: Issues, https://example.org/issues")
    assert main(arguments) == 2
    assert "add `[project.urls]` with `Repository" in capsys.readouterr().err
    write_metadata("Version: 9.0", f"Project-URL: Repository, {URL}", "Project-URL: Issues, https://x.org")
    assert main(arguments) == 0
    assert f"diffusionad @ git+{URL}" in (tmp_path / "a/README.md").read_text()


@pytest.mark.parametrize("argument", ["http://example.org/diffusionad", "git@example.org:diffusionad"])
def test_a_push_refuses_an_address_that_nobody_can_install_from(hub, push, run, capsys, argument):
    assert push(run, "--project-url", argument) == 2
    assert f"`--project-url` is {argument!r}; give the https:// address" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--dry-run"], "--dry-run and --output go together."),
        (["--output", "here"], "--dry-run and --output go together."),
        (["--repo-id", "model"], "'model': give org/name, with your user name or organisation."),
        (["--repo-id", "a/b/c"], "'a/b/c': give org/name, with your user name or organisation."),
    ],
)
@pytest.mark.parametrize("main", [main, push_space.main], ids=["model", "space"])
def test_both_pushes_check_their_arguments_alike(hub, main, arguments, sentence, capsys):
    needed = ["--run", "run"] if main is push_model.main else []
    assert main([*needed, "--repo-id", "org/name", *arguments]) == 2
    error = capsys.readouterr().err
    assert sentence in error and len(error.splitlines()) == 1
    assert hub.requests == []


@pytest.mark.parametrize("module", ["push_model", "push_space", "import_official"])
def test_the_help_of_a_command_imports_nothing_heavy(module):
    code = f"from hub.{module} import main; main(['--help']); import sys; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    help_text, _, modules = ran.stdout.rstrip().rpartition("\n")
    assert f"Usage: python -m hub.{module}" in help_text and "--output" in help_text
    loaded = {name.partition(".")[0] for name in modules.split()}
    assert loaded & {"torch", "diffusers", "huggingface_hub", "numpy", "jinja2", "gradio"} == set()


def test_an_installed_wheel_pushes_models_and_spaces(run, tmp_path):
    site = tmp_path / "site"  # as a wheel lays the folders out
    leave = shutil.ignore_patterns("__pycache__", "assets", "ui")
    shutil.copytree(ROOT / "diffusionad", site / "diffusionad", ignore=leave)
    shutil.copytree(ROOT / "hub", site / "diffusionad/hub", ignore=leave)
    (site / "diffusionad/space").mkdir()
    for name in (*push_space.FILES, "README.md"):
        shutil.copyfile(ROOT / name, site / "diffusionad/space" / name)
    environment = {**os.environ, "PYTHONPATH": str(site)}

    def call(*arguments: object) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "diffusionad", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)

    dry = ["--repo-id", "org/model", "--dry-run", "--output"]
    known = ["--project-url", URL, "--dataset", "visa"]
    pushed = call("push", "--run", run, *dry, tmp_path / "repo", *known)
    assert pushed.returncode == 0, pushed.stderr
    assert f"git+{URL}" in (tmp_path / "repo/README.md").read_text()
    assert (tmp_path / "repo/pipeline.py").is_file()
    space = call("push-space", *dry, tmp_path / "space")
    assert space.returncode == 0, space.stderr
    assert (tmp_path / "space/app.py").read_bytes() == (ROOT / "app.py").read_bytes()


def test_a_push_tells_nobody_where_things_lay(hub, push, run):
    assert push(run) == 0
    for name, data in pushed(hub).items():
        assert b"/secret/place" not in data, name
    assert 'path = "noise"' in pushed(hub)["config.toml"].decode()


def test_a_push_of_an_imported_checkpoint_needs_no_training_settings(hub, push, run):
    (run / "config.toml").unlink()
    assert push(run) == 0
    assert pushed(hub).keys() == FILES - {"config.toml"}
    assert b"config.toml" not in pushed(hub)["README.md"]


def test_a_push_strips_from_examples_what_cameras_write_into_them(hub, push, run, tmp_path, make_pictures):
    exif = Image.Exif()
    exif[0x010E] = "taken at the secret plant"
    Image.fromarray(make_pictures(1)[0]).save(tmp_path / "good_1.jpg", exif=exif)
    assert push(run, "--examples", tmp_path / "good_1.jpg") == 0
    assert b"secret plant" in (tmp_path / "good_1.jpg").read_bytes()
    assert b"secret plant" not in pushed(hub)["examples/good_1.png"]


def test_a_push_of_all_categories_adds_a_card_over_them(hub, push, run, tmp_path, capsys):
    for name, auroc in (("bolt", 0.9), ("nut", 0.8)):
        shutil.copytree(run, tmp_path / "runs" / name)
        values = {"category": name, "image_auroc": {"value": auroc, "interval": [auroc - 0.1, 1.0]}}
        edit_json(tmp_path / "runs" / name / "metrics.json", **values)
    assert push(tmp_path / "runs", "--category", "all", repo="org/noise") == 0
    assert {repo_id for _, repo_id in hub.repos} == {"org/noise", "org/noise-bolt", "org/noise-nut"}
    assert pushed(hub, "org/noise-nut").keys() == FILES
    [(name, card)] = pushed(hub, "org/noise").items()
    assert name == "README.md"
    lines = card.decode().splitlines()
    assert [line for line in lines if line.startswith("| [bolt](") and line.split(" | ")[1] == "90.0"]
    assert [line for line in lines if line.startswith("| **mean** | **85.0** |")]
    # One that must not be published keeps all back.
    edit_json(tmp_path / "runs/nut/metrics.json", pipeline_sha256="0")
    edit_json(tmp_path / "runs/bolt/metrics.json", detection_rate=0.1)
    assert push(tmp_path / "runs", "--category", "all", repo="org/noise") == 2
    assert titles(hub, "org/noise-bolt") == ["Publish noise-bolt"]


def test_a_push_of_a_model_with_pretrained_features_brings_them_and_their_code(
    hub, push, run, fresh_pipeline, make_pictures, tmp_path
):
    learn_features(fresh_pipeline, make_pictures(3), make_pictures(2, seed=1), num_patches=20)
    fresh_pipeline.save_pretrained(run / "pipeline")
    edit_json(run / "metrics.json", pipeline_sha256=pipeline_sha256(run / "pipeline"))
    assert push(run) == 0
    memory = {"config.json", "diffusion_pytorch_model.safetensors", "diffusionad.py"}
    memory |= {"diffusion_pytorch_model.fp16.safetensors"}
    assert pushed(hub).keys() == FILES | {f"feature_memory/{name}" for name in memory}
    assert b"EfficientNet-Lite0, Apache-2.0" in pushed(hub)["README.md"]
    expected = fresh_pipeline(make_pictures(2)).score
    loaded = DiffusionADPipeline.from_pretrained("org/model", cache_dir=tmp_path / "cache")
    assert np.array_equal(loaded(make_pictures(2)).score, expected)
    half = DiffusionADPipeline.from_pretrained("org/model", variant="fp16", cache_dir=tmp_path / "cache")
    assert np.abs(half(make_pictures(2)).score - expected).max() < 0.02


def test_a_push_of_a_model_that_knows_marks_brings_them_in_every_precision(
    hub, push, run, fresh_pipeline, make_pictures, tmp_path
):
    learn_marks(fresh_pipeline, make_pictures(1))
    fresh_pipeline.save_pretrained(run / "pipeline")
    edit_json(run / "metrics.json", pipeline_sha256=pipeline_sha256(run / "pipeline"))
    assert push(run) == 0
    memory = {"config.json", "diffusion_pytorch_model.safetensors", "diffusionad.py"}
    memory |= {"diffusion_pytorch_model.fp16.safetensors"}
    assert pushed(hub).keys() == FILES | {f"mark_memory/{name}" for name in memory}
    assert b"knows marks that good parts carry" in pushed(hub)["README.md"]
    pictures = make_pictures(2)
    expected = fresh_pipeline(pictures)
    assert expected.known_marks[0]
    loaded = DiffusionADPipeline.from_pretrained("org/model", cache_dir=tmp_path / "cache")
    np.testing.assert_array_equal(loaded(pictures).score, expected.score)
    half = DiffusionADPipeline.from_pretrained("org/model", cache_dir=tmp_path / "cache", variant="fp16")
    assert torch.equal(half.mark_memory.marks, fresh_pipeline.mark_memory.marks)
    # Pushed again without them, the repository forgets them.
    fresh_pipeline.register_modules(mark_memory=None)
    shutil.rmtree(run / "pipeline")
    fresh_pipeline.save_pretrained(run / "pipeline")
    edit_json(run / "metrics.json", pipeline_sha256=pipeline_sha256(run / "pipeline"))
    assert push(run) == 0
    assert pushed(hub).keys() == FILES


def test_a_push_of_a_model_from_before_version_0_2(hub, push, run, capsys):
    edit_json(run / "pipeline/model_index.json", mark_similarity=0.85)
    assert push(run) == 0
    assert "mark_similarity" not in json.loads(pushed(hub)["model_index.json"])
    edit_json(run / "pipeline/segmenter/config.json", known_marks=3)
    edit_json(run / "metrics.json", pipeline_sha256=pipeline_sha256(run / "pipeline"))
    assert push(run) == 2
    assert "keeps known marks in its segmenter, as models before version 0.2 did" in capsys.readouterr().err


def test_a_pushed_config_names_no_folder_and_keeps_odd_characters(hub, push, run):
    config = (run / "config.toml").read_text(encoding="utf-8")
    (run / "config.toml").write_text(config.replace("/noise", "/noise 😀"), encoding="utf-8")
    assert push(run) == 0
    published = tomllib.loads(pushed(hub)["config.toml"].decode())
    assert published == {**tomllib.loads(config), "data": {**published["data"], "path": "noise 😀"}}


def test_the_hf_command_downloads_what_was_pushed(hub, push, run, tmp_path):
    assert push(run) == 0
    hf = [sys.executable, "-m", "huggingface_hub.cli.hf"]
    download = [*hf, "download", "org/model", "--local-dir", str(tmp_path / "copy")]
    assert warm_start.run(download).returncode == 0
    assert pipeline_sha256(tmp_path / "copy") == pipeline_sha256(run / "pipeline")
