"""State of a run: everything that a checkpoint holds."""

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn
from torch.optim.swa_utils import AveragedModel

from ..config.schema import OptimConfig
from .divergence import DivergenceWatch
from .networks import moving_average

COUNTS = ("step", "best", "seconds")


@dataclass
class TrainingState:
    """Networks, their averages, the optimiser, and how far the run is.

    Attributes:
        unet: noise predictor.
        segmenter: (x_0, x_0_hat) to logits.
        ema_unet: moving average of the UNet.
        ema_segmenter: moving average of the segmenter.
        optimizer: AdamW over both networks, a parameter group each.
        scaler: gradient scaler, in fp16 alone.
        watch: divergence of the loss.
        step: optimiser steps done.
        best: highest validation criterion of published weights.
        seconds: time spent on these steps.
        last_validation: step of the last validation in this process.
    """

    unet: nn.Module
    segmenter: nn.Module
    ema_unet: AveragedModel
    ema_segmenter: AveragedModel
    optimizer: torch.optim.Optimizer
    scaler: Any = None
    watch: DivergenceWatch = field(default_factory=DivergenceWatch)
    step: int = 0
    best: float = -math.inf
    seconds: float = 0.0
    last_validation: float = -math.inf

    @classmethod
    def fresh(
        cls, unet: nn.Module, segmenter: nn.Module, optim: OptimConfig, accelerator: Accelerator
    ) -> "TrainingState":
        """Return the state before the first step."""
        ema_unet, ema_segmenter = (moving_average(net, optim.ema_decay) for net in (unet, segmenter))
        groups = [{"params": net.parameters()} for net in (unet, segmenter)]
        optimizer = torch.optim.AdamW(groups, weight_decay=optim.weight_decay)
        return cls(unet, segmenter, ema_unet, ema_segmenter, optimizer, accelerator.scaler)

    def state_dict(self) -> dict[str, Any]:
        """Return tensors and plain numbers alone."""
        states = {name: part.state_dict() for name, part in self._parts().items()}
        return {**states, **{name: getattr(self, name) for name in COUNTS}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        for name in COUNTS:
            setattr(self, name, state[name])

    def _parts(self) -> dict[str, Any]:
        names = ("unet", "segmenter", "ema_unet", "ema_segmenter", "optimizer", "watch", "scaler")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}
