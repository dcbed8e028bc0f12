"""What a figure needs beside it to be believed and to be written again."""

import hashlib
import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from diffusionad import DiffusionADPipeline
from diffusionad.loading.fingerprint import pipeline_sha256

from ..data.catalog import Record

PACKAGES = ("torch", "diffusers", "numpy", "pillow", "scikit-learn", "scikit-image")


def provenance(pipeline: DiffusionADPipeline, folder: Path) -> dict[str, Any]:
    """Which weights and settings, which command, where.

    Args:
        pipeline: as it was measured.
        folder: where it is saved; its hash ties the figures to its weights.
    """
    settings = pipeline.settings()
    return {
        "pipeline_sha256": pipeline_sha256(Path(folder)),
        "command": command(),
        "seed": settings["seed"],
        "config": {name: value for name, value in settings.items() if name != "calibration"},
        "versions": versions(),
        "machine": machine(),
        "threads": torch.get_num_threads(),
    }


def versions() -> dict[str, str]:
    """Of Python and of the packages that figures depend on."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


def data_sha256(records: list[Record]) -> str:
    """One hash over the pictures, their masks and what they are said to be, wherever they lie."""
    total = hashlib.sha256()
    for record in sorted(records, key=lambda r: (r.defect, r.image.name)):
        files = [path for path in (record.image, record.mask) if path is not None]
        hashes = " ".join(hashlib.sha256(path.read_bytes()).hexdigest() for path in files)
        total.update(f"{record.label} {record.defect} {record.image.name} {hashes}\n".encode())
    return total.hexdigest()


def command() -> str:
    """The command that is running, with short paths."""
    path = Path(sys.argv[0])
    return " ".join(["python", "-m", f"{path.parent.name}.{path.stem}", *map(short_path, sys.argv[1:])])


def short_path(argument: str) -> str:
    """Of an absolute path, which says nothing elsewhere, the last two names; anything else as it is."""
    return "DIR/" + "/".join(Path(argument).parts[-2:]) if os.path.isabs(argument) else argument


def machine() -> str:
    """Such as "AMD EPYC 9R14, AVX512, 2 CPUs, 1 thread"."""
    name = platform.processor() or platform.machine()
    cpu_info = Path("/proc/cpuinfo")
    if cpu_info.is_file():
        lines = [line for line in cpu_info.read_text().splitlines() if line.startswith("model name")]
        name = lines[0].partition(":")[2].strip() if lines else name
    threads = torch.get_num_threads()
    instructions = torch.backends.cpu.get_cpu_capability()
    parts = [name, instructions, f"{os.cpu_count()} CPUs", f"{threads} thread{'s' * (threads != 1)}"]
    if torch.cuda.is_available():
        parts.append(torch.cuda.get_device_name())
    return ", ".join(parts)
