"""The Hub that tests talk to behaves as the real client expects: the client, unchanged, is the judge."""

import sys

import pytest
import warm_start
from huggingface_hub import CommitOperationAdd, HfApi, snapshot_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from loopback_hub import Fault

FILES = {"config.json": b"{}\n", "weights.safetensors": bytes(range(256)) * 40}


def add(files: dict[str, bytes]) -> list[CommitOperationAdd]:
    return [CommitOperationAdd(path, data) for path, data in files.items()]


@pytest.fixture
def alice(hub) -> HfApi:
    return HfApi(token="hf_alice")


def test_the_hub_keeps_what_the_client_uploads_and_gives_it_back(hub, alice, tmp_path):
    alice.create_repo("org/model")
    alice.create_commit("org/model", add(FILES), commit_message="First")
    assert {path: hub.model("org/model").files[path].data for path in FILES} == FILES
    folder = snapshot_download("org/model", cache_dir=tmp_path)
    for path, data in FILES.items():
        with open(f"{folder}/{path}", "rb") as file:
            assert file.read() == data


def test_the_hub_makes_no_commit_where_nothing_changed(hub, alice):
    alice.create_repo("org/model")
    first = alice.create_commit("org/model", add(FILES), commit_message="First")
    again = alice.create_commit("org/model", add(FILES), commit_message="Again")
    assert again.oid == first.oid
    assert [commit.title for commit in hub.model("org/model").commits] == ["initial commit", "First"]


def test_the_hub_tells_repositories_revisions_and_files_apart(hub):
    hub.add_model("org/model", FILES)
    api = HfApi(token=False)
    with pytest.raises(RepositoryNotFoundError):
        api.model_info("org/absent")
    with pytest.raises(RevisionNotFoundError):
        api.model_info("org/model", revision="v9")
    with pytest.raises(EntryNotFoundError):
        api.hf_hub_download("org/model", "absent.json")


def test_the_hub_shows_private_repositories_to_their_owners_only(hub, alice, tmp_path):
    hub.add_model("org/secret", FILES, private=True)
    for token in (False, "hf_mallory"):
        with pytest.raises(RepositoryNotFoundError):
            snapshot_download("org/secret", cache_dir=tmp_path, token=token)
    assert snapshot_download("org/secret", cache_dir=tmp_path, token="hf_alice")
    assert alice.whoami()["name"] == "alice"


def test_the_hub_keeps_the_files_of_gated_repositories_back(hub, tmp_path):
    hub.add_model("org/gated", FILES, gated=True)
    with pytest.raises(GatedRepoError):
        snapshot_download("org/gated", cache_dir=tmp_path, token=False)


def test_the_hub_lets_nobody_write_elsewhere(hub, alice):
    hub.add_model("org/model", FILES)
    mallory = HfApi(token="hf_mallory")
    with pytest.raises(HfHubHTTPError, match="403"):
        mallory.create_repo("org/other")
    with pytest.raises(HfHubHTTPError, match="403"):
        mallory.create_commit("org/model", add({"a": b"b"}), commit_message="Vandalism")


def test_the_hub_tags_and_lists(hub, alice, tmp_path):
    hub.add_model("org/one", {"README.md": b"---\ntags:\n- diffusionad\n---\n"})
    hub.add_model("org/two", FILES)
    alice.create_tag("org/one", tag="v1")
    assert alice.model_info("org/one", revision="v1").sha == hub.model("org/one").commits[-1].sha
    assert [model.id for model in alice.list_models(author="org", filter="diffusionad")] == ["org/one"]


def test_a_hub_that_dies_and_comes_back_has_forgotten_nothing(hub, alice, tmp_path):
    alice.create_repo("org/model")
    hub.faults.append(Fault("PUT /lfs/", "die"))
    alice.create_commit("org/model", add(FILES), commit_message="First")
    assert hub.model("org/model").files.keys() >= FILES.keys()


def test_the_hub_serves_the_hf_command(hub, tmp_path):
    hub.add_model("org/model", FILES)
    hf = [sys.executable, "-m", "huggingface_hub.cli.hf"]
    download = [*hf, "download", "org/model", "--local-dir", tmp_path]
    assert warm_start.run(download).returncode == 0
    assert {p.name for p in tmp_path.iterdir() if p.is_file()} >= FILES.keys()
