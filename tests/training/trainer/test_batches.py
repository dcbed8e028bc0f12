"""Processes that read samples: what they get pickles, whatever way they are started."""

import os
import pickle
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from small_runs import SMALL, arguments, write_squares
from torch.utils.data import DataLoader

from training.config.loader import load_config
from training.synthesis.dataset import SampleStream, SyntheticAnomalies
from training.synthesis.foreground import foreground_source
from training.trainer.batches import ignore_interrupts


@pytest.fixture(scope="module")
def good_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_squares(tmp_path_factory.mktemp("data") / "squares")


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_worker_of_its_own_interpreter_reads_the_same_samples(good_folder: Path, method: str) -> None:
    config = load_config("tiny", [*SMALL, "data.foreground=classical"])
    samples = SyntheticAnomalies(sorted((good_folder / "train/good").iterdir()), config, seed=0)
    expected = [samples[key] for key, _ in zip(SampleStream(len(samples), 0), range(2), strict=False)]
    loader = DataLoader(
        samples,
        1,
        sampler=SampleStream(len(samples), 0),
        num_workers=1,
        prefetch_factor=1,
        worker_init_fn=ignore_interrupts,
        multiprocessing_context=method,
    )
    for batch, sample in zip(loader, expected, strict=False):
        assert all(torch.equal(batch[name][0], value) for name, value in sample.items())


@pytest.mark.slow
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_training_starts_where_processes_are_not_forked(
    good_folder: Path, tmp_path: Path, method: str
) -> None:
    settings = [*SMALL, "data.num_workers=1", "data.foreground=classical", "optim.max_steps=1"]
    words = arguments(
        good_folder, tmp_path / "run", settings=[*settings, "log.validations=1", "log.samples=0"]
    )
    script = tmp_path / "train.py"  # with a guard, as every program has that spawns
    script.write_text(
        "import multiprocessing, sys\n"
        "from training.train import main\n"
        "if __name__ == '__main__':\n"
        f"    multiprocessing.set_start_method({method!r})\n"
        "    sys.exit(main(sys.argv[1:]))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run(
        [sys.executable, str(script), *words], capture_output=True, text=True, timeout=600, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run/metrics.json").is_file()


@pytest.mark.parametrize("name", ["classical", "none", "folder", "rembg"])
def test_every_source_of_foregrounds_pickles(name: str, tmp_path: Path, monkeypatch) -> None:
    Image.new("L", (32, 32), 255).save(tmp_path / "a.png")
    whole = np.full((32, 32), 255, np.uint8)
    whole[:8] = 0

    def new_session(model: str) -> object:
        return lambda: None  # as a session of ONNX Runtime, it does not pickle

    stand_in = SimpleNamespace(
        new_session=new_session, remove=lambda picture, session, only_mask: Image.fromarray(whole)
    )
    monkeypatch.setitem(sys.modules, "rembg", stand_in)
    source = foreground_source(tmp_path if name == "folder" else name)
    image = np.random.default_rng(0).random((32, 32, 3), np.float32)
    expected = source(image, Path("a.png"))
    found = pickle.loads(pickle.dumps(source))(image, Path("a.png"))
    assert found is expected is None or np.array_equal(found, expected)


def test_a_worker_is_not_sent_the_pictures_that_it_reads_itself(good_folder: Path) -> None:
    paths = sorted((good_folder / "train/good").iterdir())
    samples = SyntheticAnomalies(paths, load_config("tiny", SMALL), seed=0)
    before = len(pickle.dumps(samples))
    expected = samples[0, 3]
    assert samples._cache and len(pickle.dumps(samples)) == before
    sent = pickle.loads(pickle.dumps(samples))
    assert not sent._cache and all(torch.equal(sent[0, 3][name], expected[name]) for name in expected)
