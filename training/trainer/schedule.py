"""Steps, learning rates, validations, and portions of a batch: arithmetic on the settings alone."""

import math
from dataclasses import dataclass

from ..config.schema import OptimConfig


@dataclass(frozen=True)
class Portions:
    """Division of the samples of one optimiser step.

    Attributes:
        process: samples of one process a step.
        micro_batch: samples of one process at a time.
        count: micro-batches a step.
    """

    process: int
    micro_batch: int
    count: int


def portions(optim: OptimConfig, processes: int) -> Portions:
    """Divide `optim.batch_size` over processes and micro-batches; a step stays the same step.

    Raises:
        ValueError: the batch cannot be divided evenly.
    """
    process, rest = divmod(optim.batch_size, processes)
    if rest or process == 0:
        raise ValueError(
            f"`optim.batch_size` is {optim.batch_size}, the samples of one step over all processes; "
            f"with {processes} processes use a multiple of {processes}."
        )
    micro_batch = optim.micro_batch_size or process
    if micro_batch < 1 or process % micro_batch:
        raise ValueError(
            f"`optim.micro_batch_size` is {optim.micro_batch_size}, but each process takes {process} samples "
            f"a step (`optim.batch_size` {optim.batch_size} over {processes}); use a divisor of {process}."
        )
    return Portions(process, micro_batch, process // micro_batch)


def learning_rates(step: int, optim: OptimConfig) -> tuple[float, float]:
    """Return the learning rates of UNet and segmenter at a step.

    Linear warm-up, then a cosine down to `final_lr_fraction` at `max_steps` (0: not known yet); of two
    phases, each has its own. On top of it the segmenter may follow a cosine down to 0 and up again,
    `segmenter_cosine_steps` each way.
    """
    steps = optim.max_steps
    if optim.unet_share > 0:
        first = not optim.unet_steps or step < optim.unet_steps
        steps = optim.unet_steps if first else max(0, optim.max_steps - optim.unet_steps)
        step -= 0 if first else optim.unet_steps
    warmup = min(1.0, (step + 1) / optim.warmup_steps) if optim.warmup_steps else 1.0
    progress = min(1.0, step / steps) if steps else 0.0
    last = optim.final_lr_fraction
    factor = warmup * (last + (1 - last) * (1 + math.cos(math.pi * progress)) / 2)
    wave = 1.0
    if optim.segmenter_cosine_steps:
        wave = (1 + math.cos(math.pi * step / optim.segmenter_cosine_steps)) / 2
    return optim.unet_lr * factor, optim.segmenter_lr * factor * wave


def validates(step: int, start: int, end: float, count: int, last_validation: float) -> bool:
    """Whether the weights are validated after a step: `count` times in a phase, and at its end.

    Args:
        step: steps done.
        start: step that the phase began at.
        end: step that it ends at; infinite while it is not known, and no validation comes until then.
        count: validations of a phase.
        last_validation: step of the last one. A new pace moves `end` and so the multiples; two validations
            stay more than half their distance apart.
    """
    every = max(1, int(min(end - start, 10**9)) // count)
    is_multiple = (step - start) % every == 0 and step - last_validation > every // 2
    return end < math.inf and (is_multiple or step == end)


def steps_of_epochs(optim: OptimConfig, pictures: int) -> int:
    """Return the steps in which each of `pictures` is seen `max_epochs` times, rounded up."""
    return math.ceil(optim.max_epochs * pictures / optim.batch_size)


def spoken(seconds: float) -> str:
    """Return a duration as people say it: "40 s", "25 min", "3 h 20 min"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
