"""The app as a Space: what is pushed runs by itself."""

import os
import re
import subprocess
import sys
import sysconfig
import time

import pytest
import yaml
from loopback_hub import Fault
from places import ROOT

from hub.push_space import main, preloaded
from hub.repo_folder import describe

MODEL = {"README.md": b"---\nlibrary_name: diffusers\ntags:\n- diffusionad\n---\n"}


@pytest.fixture(autouse=True)
def _alice(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_alice")


def front_matter(card: str) -> dict:
    return yaml.safe_load(card.split("---\n")[1])


def test_the_project_itself_is_a_space_of_the_hub():
    front = front_matter((ROOT / "README.md").read_text())
    assert (front["sdk"], front["python_version"]) == ("gradio", "3.12")
    assert len(front["short_description"]) <= 60  # the Hub refuses longer ones
    assert (ROOT / front["app_file"]).is_file() and (ROOT / "requirements.txt").is_file()
    assert f"gradio=={front['sdk_version']}" in (ROOT / "constraints.txt").read_text().splitlines()


def test_a_pushed_space_has_the_app_the_package_and_the_models(hub):
    hub.add_model("org/model", MODEL)
    assert main(["--repo-id", "org/space", "--model", "org/model", "--model", "org"]) == 0
    space = hub.space("org/space")
    assert space.settings == {"sdk": "gradio", "variables": {"DIFFUSIONAD_MODELS": "org/model,org"}}
    assert {"app.py", "requirements.txt", "LICENSE", "diffusionad/ui/app.py"} <= space.files.keys()
    assert "diffusionad/assets/fabric/model_index.json" in space.files
    assert not [
        path for path in space.files if "__pycache__" in path or path.startswith(("training", "tests"))
    ]
    front = front_matter(space.files["README.md"].data.decode())
    assert front["models"] == ["org/model"]
    assert front["preload_from_hub"] == [f"org/model {preloaded()}"]
    assert (front["sdk"], front["python_version"], front["suggested_hardware"]) == (
        "gradio",
        "3.12",
        "cpu-basic",
    )


def test_a_second_push_of_a_space_makes_no_commit(hub):
    assert main(["--repo-id", "org/space"]) == main(["--repo-id", "org/space"]) == 0
    assert [commit.title for commit in hub.space("org/space").commits[1:]] == ["Publish the app"]


def test_a_push_of_a_space_asks_for_its_hardware(hub):
    assert main(["--repo-id", "org/space", "--hardware", "zero-a10g"]) == 0
    space = hub.space("org/space")
    assert space.settings["hardware"] == "zero-a10g"
    assert "pytorch.org/whl/cpu" not in space.files["requirements.txt"].data.decode()
    assert main(["--repo-id", "org/small"]) == 0
    assert "pytorch.org/whl/cpu" in hub.space("org/small").files["requirements.txt"].data.decode()


def test_a_push_of_a_space_that_the_hub_wants_paid_says_so(hub, capsys):
    hub.faults.append(Fault("POST /api/repos/create", 402))
    assert main(["--repo-id", "org/space"]) == 2
    assert "(402: fault 402); the Hub asks for payment for this kind of Space" in capsys.readouterr().err


def test_a_push_of_a_space_with_a_model_that_is_not_there_is_refused(hub, capsys):
    assert main(["--repo-id", "org/space", "--model", "org/absent"]) == 2
    assert "The Hub has no `org/absent`, or it is private" in capsys.readouterr().err
    assert hub.repos == {}


def test_a_dry_run_of_a_space_pushes_nothing(hub, tmp_path, capsys):
    assert main(["--repo-id", "org/space", "--dry-run", "--output", str(tmp_path / "space")]) == 0
    assert hub.requests == []
    assert describe(tmp_path / "space") in capsys.readouterr().out
    assert main(["--repo-id", "org/space", "--dry-run", "--output", str(tmp_path / "space")]) == 2
    assert "is not empty; choose another folder" in capsys.readouterr().err


@pytest.mark.slow
def test_the_app_of_a_space_folder_gives_a_verdict_where_the_project_is_not_installed(tmp_path):
    gradio_client = pytest.importorskip("gradio_client")
    folder = tmp_path / "space"
    assert main(["--repo-id", "org/space", "--dry-run", "--output", str(folder)]) == 0
    # The libraries without the project: a folder in a .pth file is searched, its own .pth files are not.
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    [site] = (tmp_path / "venv").glob("lib/python*/site-packages")
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    python = tmp_path / "venv/bin/python"
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "HF_TOKEN")}
    environment |= {"PYTHONUNBUFFERED": "1", "GRADIO_ANALYTICS_ENABLED": "False"}
    elsewhere = subprocess.run([python, "-c", "import diffusionad.settings"], cwd=tmp_path, env=environment)
    assert elsewhere.returncode == 1
    log = tmp_path / "log"
    with log.open("w") as file:
        app = subprocess.Popen([python, "app.py"], cwd=folder, env=environment, stdout=file, stderr=file)
    try:
        deadline = time.monotonic() + 300
        while not (address := re.search(r"http://127\.0\.0\.1:\d+", log.read_text())):
            assert app.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        client = gradio_client.Client(address[0], verbose=False)
        verdicts = {}
        for name in ("hole", "good_1"):
            picture = folder / "diffusionad/assets/fabric/examples" / f"{name}.png"
            answer = client.predict(
                gradio_client.handle_file(str(picture)), "fabric", None, api_name="/inspect"
            )
            verdicts[name] = answer[0]["verdict"]
        assert verdicts == {"hole": "defective", "good_1": "good"}
    finally:
        app.terminate()
        app.wait(60)
