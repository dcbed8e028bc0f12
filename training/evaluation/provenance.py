"""Provenance of figures: weights, settings, data, command, versions and machine."""

import hashlib
import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from diffusionad import DiffusionADPipeline
from diffusionad.files import file_sha256
from diffusionad.loading.fingerprint import pipeline_sha256

from ..data.catalog import Record
from ..data.masks import files_of

PACKAGES = ("torch", "diffusers", "numpy", "pillow", "scipy", "scikit-learn", "scikit-image")


def provenance(pipeline: DiffusionADPipeline, folder: Path) -> dict[str, Any]:
    """Return the weights' hash, settings, command, versions and machine of a measurement.

    Args:
        pipeline: the measured pipeline.
        folder: its folder; the hash of the files ties the figures to the weights.
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
    """Return the versions of Python and of the packages that figures depend on."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


def data_sha256(records: list[Record]) -> str:
    """Return one hash over pictures, masks and labels; moving the files does not change it."""
    total = hashlib.sha256()
    for record in sorted(records, key=lambda r: (r.defect, r.image.name)):
        files = [record.image, *(files_of(record.mask) if record.mask else [])]
        hashes = " ".join(map(file_sha256, files))
        total.update(f"{record.label} {record.defect} {record.image.name} {hashes}\n".encode())
    return total.hexdigest()


def command() -> str:
    """Return the running command, with absolute paths shortened."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    if spec is None:
        start = [Path(sys.argv[0]).name]  # an installed script such as `diffusionad`
    else:
        start = ["python", "-m", spec.name.removesuffix(".__main__")]
    return " ".join([*start, *map(short_path, sys.argv[1:])])


def short_path(argument: str) -> str:
    """Return DIR and the last two names of an absolute path, also in `--option=PATH`; else the argument."""
    option, is_assigned, value = argument.partition("=")
    if is_assigned and option.startswith("--"):
        return f"{option}={short_path(value)}"
    return "DIR/" + "/".join(Path(argument).parts[-2:]) if os.path.isabs(argument) else argument


def machine() -> str:
    """Return a description such as "AMD EPYC 9R14, AVX512, 2 CPUs, 1 thread"."""
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
