"""What only a machine with a GPU can show; elsewhere all of it skips."""

import json
import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from small_runs import SMALL, command, write_squares
from warm_start import run

from diffusionad import DiffusionADPipeline, demo_model, demo_models
from diffusionad.ui.serving.model_registry import ModelRegistry
from training.run_folder import drop_checkpoints_after

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device")


def examples(name: str) -> list[np.ndarray]:
    return [np.array(Image.open(path)) for path in sorted(Path(demo_model(name), "examples").glob("*.png"))]


@pytest.mark.parametrize("name", demo_models())
def test_a_gpu_gives_the_verdicts_of_the_cpu(name: str) -> None:
    pictures = examples(name)
    pipeline = DiffusionADPipeline.from_pretrained(demo_model(name))
    pipeline.set_progress_bar_config(disable=True)
    cpu = pipeline(pictures, output_type="np")
    pipeline.to("cuda")
    for batch_size in (1, 8):
        gpu = pipeline(pictures, batch_size=batch_size, output_type="np")
        np.testing.assert_allclose(gpu.score, cpu.score, rtol=0, atol=1e-3)
        np.testing.assert_array_equal(gpu.is_anomalous, cpu.is_anomalous)
        for i in range(len(pictures)):
            np.testing.assert_allclose(gpu.anomaly_map[i], cpu.anomaly_map[i], rtol=0, atol=2e-2)
            np.testing.assert_allclose(gpu.reconstruction[i], cpu.reconstruction[i], rtol=0, atol=5e-3)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", demo_models())
def test_half_precision_keeps_the_verdicts(name: str, dtype: torch.dtype) -> None:
    pictures = examples(name)
    full = DiffusionADPipeline.from_pretrained(demo_model(name)).to("cuda")(pictures)
    half = DiffusionADPipeline.from_pretrained(demo_model(name), dtype=dtype).to("cuda")(pictures)
    np.testing.assert_allclose(half.score, full.score, rtol=0, atol=0.05)
    np.testing.assert_array_equal(half.is_anomalous, full.is_anomalous)


def test_the_time_of_a_stage_is_that_of_its_kernels() -> None:
    pipeline = DiffusionADPipeline.from_pretrained(demo_model(demo_models()[0])).to("cuda")
    pictures = examples(demo_models()[0])[:1]
    pipeline(pictures)
    one, twenty = (
        pipeline(pictures, num_inference_steps=1, num_noise_samples=draws).timings for draws in (1, 20)
    )
    assert twenty["denoise"] > 8 * one["denoise"]
    assert twenty["score"] < 3 * one["score"]


def test_the_app_shares_a_call_among_those_who_wait() -> None:
    model = ModelRegistry([]).get(demo_models()[0])
    assert model.device == "GPU"
    pictures = [picture.astype(np.float32) / 255 for picture in examples(model.name)]
    alone = [model.run(picture, 0, {}).score[0] for picture in pictures]
    calls, scores = [], {}
    hook = model.pipeline.segmenter.register_forward_pre_hook(lambda _, seen: calls.append(len(seen[0])))

    def visit(i: int) -> None:
        scores[i] = model.run(pictures[i], 0, {}).score[0]

    visitors = [threading.Thread(target=visit, args=(i,)) for i in range(len(pictures))]

    def all_arrive() -> None:
        for visitor in visitors:
            visitor.start()
        while len(model.batcher._waiting) < len(visitors):
            time.sleep(0.01)

    model.batcher.exclusively(all_arrive)  # keeps the model meanwhile
    for visitor in visitors:
        visitor.join(60)
    hook.remove()
    assert calls == [len(pictures)]
    np.testing.assert_allclose([scores[i] for i in range(len(pictures))], alone, rtol=0, atol=1e-3)


@pytest.mark.parametrize("precision", ["no", "bf16", "fp16"])
@pytest.mark.parametrize("share", [0.0, 0.5], ids=["joint", "two phases"])
def test_training_runs_and_resumes_on_a_gpu(precision: str, share: float, tmp_path: Path) -> None:
    data = write_squares(tmp_path / "squares")
    settings = [*SMALL, f"optim.precision={precision}", f"optim.unet_share={share}"]
    straight, stopped = tmp_path / "straight", tmp_path / "stopped"
    found = run(command(data, straight, settings=settings))
    assert found.returncode == 0, found.stderr
    figures = json.loads((straight / "metrics.json").read_text())
    assert figures["machine"].endswith(torch.cuda.get_device_name())
    shutil.copytree(straight, stopped)
    drop_checkpoints_after(stopped, 4)
    found = run(command(data, stopped, "--resume", settings=settings))
    assert found.returncode == 0, found.stderr
    for name in ("unet", "segmenter"):
        file = f"pipeline/{name}/diffusion_pytorch_model.safetensors"
        one, other = load_file(straight / file), load_file(stopped / file)
        for key, weight in one.items():
            torch.testing.assert_close(other[key], weight, rtol=1e-2, atol=1e-3)
