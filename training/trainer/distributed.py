"""Differences between one process and many, so that the loop need not know them.

Every process takes every world-th sample of one common stream, and losses and gradients are averaged: a step
over N processes is the step of one process with the same batch. Only the main process writes.
"""

import datetime
import os
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs
from torch import nn

from ..config.schema import TrainConfig, with_optim

# The others wait while the main process validates, tests and writes.
PATIENCE = datetime.timedelta(hours=12)


def start_accelerator(config: TrainConfig) -> Accelerator:
    """Join the processes of this run, which `accelerate launch` or a plain start made.

    Raises:
        ValueError: this device lacks the precision, or batch statistics cannot be shared.
    """
    accelerator = Accelerator(
        mixed_precision=config.optim.precision,
        # Only when told so does accelerate let processes on CPUs find each other.
        cpu=not torch.accelerator.is_available(),
        kwargs_handlers=[InitProcessGroupKwargs(timeout=PATIENCE)],
    )
    assert accelerator.num_processes == int(os.environ.get("WORLD_SIZE", 1)), (
        "WORLD_SIZE differs from accelerate's process count"
    )
    check_statistics(config, accelerator.num_processes, accelerator.device.type)
    return accelerator


def with_native_precision(config: TrainConfig) -> TrainConfig:
    """Resolve precision "auto" for this machine: "bf16" where it computes in that, else "no" (fp32).

    A processor that has to emulate bf16 takes many times as long as in fp32.
    """
    if config.optim.precision != "auto":
        return config
    if torch.cuda.is_available():
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = processor_computes_in_bf16()
    return with_optim(config, precision="bf16" if native else "no")


def processor_computes_in_bf16() -> bool:
    """Whether this CPU has instructions for bf16."""
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16"))


def check_statistics(config: TrainConfig, processes: int, device: str) -> None:
    """Refuse batch normalisation over several processes where torch has none: off CUDA.

    Raises:
        ValueError: the settings ask for it there.
    """
    if processes > 1 and device != "cuda" and config.model.segmenter_norm == "batch":
        raise ValueError(
            f"`model.segmenter_norm` is 'batch', whose statistics {processes} processes share on CUDA only, "
            f"and this is {device}; use 'group', or one process."
        )


def share_statistics(segmenter: nn.Module, accelerator: Accelerator) -> nn.Module:
    """Normalise over the samples of all processes, as if they were one batch."""
    if accelerator.num_processes == 1:
        return segmenter
    return nn.SyncBatchNorm.convert_sync_batchnorm(segmenter)


def any_process(accelerator: Accelerator, flag: bool) -> bool:
    """Whether `flag` is set in any process; all processes return the same."""
    if accelerator.num_processes == 1:
        return flag
    return bool(accelerator.reduce(torch.tensor(float(flag), device=accelerator.device), "sum") > 0)


def from_main(accelerator: Accelerator, number: int) -> int:
    """Return the main process's number in every process."""
    if accelerator.num_processes == 1:
        return number
    mine = number if accelerator.is_main_process else 0
    return int(accelerator.reduce(torch.tensor(mine, device=accelerator.device), "sum"))
