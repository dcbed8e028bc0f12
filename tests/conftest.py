"""For all tests: a tiny pipeline of real components (64 x 64 pixels, seeded, calibrated on noise), and a Hub
on loopback.
"""

import os
import signal
import struct
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loopback_hub import LoopbackHub, free_port

# Read when huggingface_hub is imported. No test, and no process that one starts, reaches the real Hub, its
# cache, or the developer's token; without the fixture `hub` nobody listens at this address.
HUB_PORT = free_port()
HF_HOME = tempfile.TemporaryDirectory(prefix="hf-home-")
os.environ |= {
    "HF_ENDPOINT": f"http://127.0.0.1:{HUB_PORT}",
    "HF_HOME": HF_HOME.name,
    "HF_HUB_DISABLE_XET": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    # Networks this small gain nothing from threads, and waiting threads make a busy machine crawl. For the
    # commands that tests start, too.
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
}
for name in ("HF_TOKEN", "HF_HUB_CACHE", "HF_HUB_OFFLINE"):
    os.environ.pop(name, None)

import httpx
import numpy as np
import pytest
import torch
import warm_start
from diffusers import DDPMScheduler, UNet2DModel
from example_run import write_run
from PIL import Image
from places import APP

from diffusionad import AnomalySegmenter, DiffusionADPipeline, calibrate

if TYPE_CHECKING:
    from gradio_client import Client


# A test run in the background of a script inherits an ignored Ctrl-C, and so would the commands it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)

torch.set_num_threads(1)


def build_tiny_pipeline(seed: int = 0) -> DiffusionADPipeline:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet = UNet2DModel(
            sample_size=32,  # 64 pixels in blocks of 2 x 2
            in_channels=12,
            out_channels=12,
            block_out_channels=(16, 32),
            layers_per_block=1,
            norm_num_groups=8,
            down_block_types=("DownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "UpBlock2D"),
        )
        segmenter = AnomalySegmenter(block_out_channels=(16, 32, 48))
    # Untrained logits hardly leave 0; spread, they give maps on both sides of any threshold.
    with torch.no_grad():
        segmenter.conv_out.weight *= 4
    return DiffusionADPipeline(unet, DDPMScheduler(), segmenter, image_size=64, category="noise")


@pytest.fixture(scope="session")
def tiny_pipeline() -> DiffusionADPipeline:
    """Shared by all tests: a test that changes settings takes `fresh_pipeline`."""
    pipeline = build_tiny_pipeline()
    pictures = np.random.default_rng(0).random((40, 64, 64, 3), dtype=np.float32)
    return pipeline.configure(calibration=calibrate(pipeline(pictures, batch_size=40).score))


@pytest.fixture(scope="session")
def tiny_model_folder(tiny_pipeline: DiffusionADPipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`tiny_pipeline`, saved; shared by all tests: copy it before changing a file."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    tiny_pipeline.save_pretrained(folder)
    return folder


@pytest.fixture
def fresh_pipeline(tiny_model_folder: Path) -> DiffusionADPipeline:
    """A copy of `tiny_pipeline` that the test may change."""
    return DiffusionADPipeline.from_pretrained(tiny_model_folder)


@pytest.fixture
def run(tiny_model_folder: Path, tmp_path: Path) -> Path:
    """A finished run of `tiny_pipeline`, with figures that nobody measured."""
    write_run(tmp_path / "run", tiny_model_folder)
    return tmp_path / "run"


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    """An empty Hub, running; "hf_alice" is the token of alice, who may write to alice/ and org/."""
    with LoopbackHub(HUB_PORT) as hub:
        yield hub


@pytest.fixture(scope="session")
def make_pictures() -> Callable[..., list[np.ndarray]]:
    """Function (n, side, seed) -> n smooth pictures with some noise, [side,side,3] uint8."""

    def make(n: int, side: int = 64, seed: int = 0) -> list[np.ndarray]:
        generator = np.random.default_rng(seed)
        y, x = np.mgrid[0:side, 0:side] / side
        pictures = []
        for _ in range(n):
            a, b, c = generator.uniform(2, 9, 3)
            wave = 0.5 + 0.3 * np.stack([np.sin(a * x + b * y), np.cos(b * x), np.sin(c * y)], axis=2)
            noisy = wave + generator.normal(0, 0.05, wave.shape)
            pictures.append((noisy.clip(0, 1) * 255).round().astype(np.uint8))
        return pictures

    return make


@pytest.fixture
def make_huge_png(tmp_path: Path) -> Callable[[int, int], Path]:
    """Function (width, height) -> path of a PNG that claims this size in its header and holds nothing."""

    def make(width: int, height: int) -> Path:
        def chunk(kind: bytes, data: bytes) -> bytes:
            return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

        header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
        path = tmp_path / "huge.png"
        chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)
        return path

    return make


@dataclass
class RunningApp:
    url: str
    log: Path
    client: "Client"
    pid: int

    def upload(self, path: Path) -> str:
        """Where the app keeps a file that was uploaded."""
        answer = httpx.post(f"{self.url}gradio_api/upload", files={"files": (path.name, path.read_bytes())})
        return answer.json()[0]


@pytest.fixture(scope="session")
def app(start_app: Callable[..., AbstractContextManager[RunningApp]]) -> Iterator[RunningApp]:
    """`app.py` as a process of its own, in a folder of its own, with `tiny` beside the embedded models."""
    with start_app() as running:
        yield running


@pytest.fixture(scope="session")
def start_app(
    tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., AbstractContextManager[RunningApp]]:
    """For tests that need an app of their own, as `app` is, with further environment variables; it ends with
    the context.
    """
    return lambda **variables: _start_app(tiny_model_folder, tmp_path_factory.mktemp("elsewhere"), variables)


@contextmanager
def _start_app(tiny_model_folder: Path, elsewhere: Path, variables: dict[str, str]) -> Iterator[RunningApp]:
    port = free_port()
    environment = {
        **os.environ,
        "GRADIO_SERVER_NAME": "127.0.0.1",
        "GRADIO_SERVER_PORT": str(port),
        "DIFFUSIONAD_MODELS": f" {tiny_model_folder} , ",
        "HF_HUB_OFFLINE": "1",
        "GRADIO_MCP_SERVER": str(find_spec("mcp") is not None),
        "PYTHONUNBUFFERED": "1",
        **variables,
    }
    environment.pop("PYTHONPATH", None)
    url, log = f"http://127.0.0.1:{port}/", elsewhere / "log.txt"
    with log.open("w") as output:
        process = warm_start.start(
            [sys.executable, str(APP)], cwd=elsewhere, env=environment, stdout=output, stderr=output
        )
    from gradio_client import Client

    try:
        wait_until_served(url, process, log)
        yield RunningApp(
            url, log, Client(url, verbose=False, download_files=elsewhere / "downloads"), process.pid
        )
    finally:
        process.terminate()
        process.wait(timeout=20)


def wait_until_served(url: str, process: Any, log: Path) -> None:
    for _ in range(1800):
        assert process.poll() is None, log.read_text()
        try:
            httpx.get(url)
            return
        except httpx.TransportError:
            time.sleep(0.1)
    raise AssertionError(f"not served after three minutes: {log.read_text()}")


@pytest.fixture(scope="session")
def waves(tmp_path_factory: pytest.TempPathFactory, make_pictures: Callable[..., list[np.ndarray]]) -> Path:
    """MVTec-AD layout: pictures of 72 x 64 pixels, two kinds of defect with masks, clean twins of one."""
    root = tmp_path_factory.mktemp("data") / "waves"

    def save(path: Path, pixels: np.ndarray) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)

    pictures = [p[:, :64] for p in make_pictures(22, side=72)]
    for i, pixels in enumerate(pictures[:12]):
        save(root / f"train/good/{i:03d}.png", pixels)
    for i, pixels in enumerate(pictures[12:16]):
        save(root / f"test/good/{i:03d}.png", pixels)
    for kind, start in (("bright", 16), ("dark", 19)):
        for i, pixels in enumerate(pictures[start : start + 3]):
            mask = np.zeros((72, 64), np.uint8)
            mask[10 + i : 22, 5:40] = 255
            damaged = np.where(mask[..., None] > 0, 255 if kind == "bright" else 0, pixels).astype(np.uint8)
            save(root / f"test/{kind}/{i:03d}.png", damaged)
            save(root / f"ground_truth/{kind}/{i:03d}_mask.png", mask)
            if kind == "bright":
                save(root / f"clean/{kind}/{i:03d}.png", pixels)
    return root
