"""Before the first step: find everything that can be wrong, and build what training needs."""

import dataclasses
import itertools
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from diffusers import DDPMScheduler
from torch import nn

from diffusionad.models.efficientnet_lite0 import weights_path

from ..config.schema import TrainConfig, with_optim
from ..console import IS_MAIN_PROCESS, say
from ..data.bit_depth import check_bit_depth, find_bit_depth
from ..data.catalog import Catalog
from ..data.selection import check_each, find_pictures
from ..data.split import check_readable, split_records
from ..run_folder import check_unused, check_writable, clear_leftovers, prepare_folder, sets_of_run
from ..run_guard import RunLock
from ..synthesis.dataset import SyntheticAnomalies
from .distributed import start_accelerator, with_native_precision
from .logger import check_available
from .networks import build_networks, build_pipeline
from .sanity_check import sanity_check
from .schedule import Portions, portions, steps_of_epochs
from .validation import Validation


@dataclass(frozen=True)
class Setup:
    """Parts of a run that do not change from step to step.

    Attributes:
        config: settings; steps are resolved as far as they are known, precision and bit depth are.
        output: run folder.
        catalog: pictures of the run.
        sets: normal pictures by "train", "validation" and "calibration".
        accelerator: processes of the run.
        portion: division of a batch.
        networks: UNet, noise schedule and segmenter, fresh, on their device.
        samples: training samples.
        validation: samples that choose the checkpoint.
    """

    config: TrainConfig
    output: Path
    catalog: Catalog
    sets: dict[str, list[Path]]
    accelerator: Accelerator
    portion: Portions
    networks: tuple[nn.Module, DDPMScheduler, nn.Module]
    samples: SyntheticAnomalies
    validation: Validation


def set_up(config: TrainConfig, output: Path, resume: bool, lock: RunLock) -> Setup:
    """Check data and settings, build the networks, take one batch through everything, write the run folder.

    Raises:
        ValueError: data or settings that cannot work, or another process trains in `output`.
        FileNotFoundError: no such data.
    """
    # 1. Pictures.
    config = with_native_precision(config)
    catalog = find_pictures(config.data)
    for sentence in check_each(catalog):
        say(f"note: {sentence}")
    sets = split_records(catalog.train, config)
    if resume:
        sets = sets_of_run(output, sets)
    check_readable(sets["calibration"])  # they may come from a folder that check_each has not seen
    if not resume:
        config = _with_known_depth(config, catalog, sets)
    config = _with_known_steps(config, len(sets["train"]))

    # 2. Networks; their sizes and the settings must fit together.
    torch.manual_seed(config.optim.seed)
    networks = unet, scheduler, segmenter = build_networks(config)
    build_pipeline(config, catalog.category, unet, scheduler, segmenter)

    # 3. The machine.
    check_available(config.log)
    _check_features(config)
    check_writable(output)
    if IS_MAIN_PROCESS:
        lock.acquire()
        if not resume:
            check_unused(output)
        clear_leftovers(output, resume)
    accelerator = start_accelerator(config)
    portion = portions(config.optim, accelerator.num_processes)
    if config.optim.gradient_checkpointing:
        unet.enable_gradient_checkpointing()
    for network in (unet, segmenter):
        network.to(accelerator.device, memory_format=torch.channels_last)

    # 4. Samples, and one batch of them through everything.
    samples = SyntheticAnomalies(sets["train"], config, seed=config.optim.seed)
    validation = Validation(sets["validation"], config)
    if not resume:
        sanity_check(config, accelerator, samples, validation, networks, portion.micro_batch, output)
        if accelerator.is_main_process:
            prepare_folder(output, config, sets)
    return Setup(config, output, catalog, sets, accelerator, portion, networks, samples, validation)


def _with_known_depth(config: TrainConfig, catalog: Catalog, sets: dict[str, list[Path]]) -> TrainConfig:
    """Find the scale of 16-bit pictures where it is not named, and check that it holds for all pictures."""
    good = list(itertools.chain(*sets.values()))
    bit_depth = config.data.bit_depth or find_bit_depth(good)
    if bit_depth is None:
        return config
    tested = [path for record in catalog.test for path in (record.image, record.clean) if path is not None]
    check_bit_depth([*good, *tested], bit_depth)
    if not config.data.bit_depth:
        say(
            f"note: the values of the good pictures fit into {bit_depth} bits, which the model keeps as its "
            "`bit_depth`; if the camera has more, set data.bit_depth."
        )
    return dataclasses.replace(config, data=dataclasses.replace(config.data, bit_depth=bit_depth))


def _check_features(config: TrainConfig) -> None:
    """Raise a ValueError where pretrained features are asked for and their weights are not installed."""
    if config.model.pretrained_features == "none":
        return
    try:
        weights_path()
    except ValueError as error:
        raise ValueError(f"{error} Or train from scratch: --set model.pretrained_features=none.") from error


def _with_known_steps(config: TrainConfig, pictures: int) -> TrainConfig:
    """Resolve epochs and the share of the first phase, where they are given, to steps."""
    optim = config.optim
    if optim.max_steps == 0 and optim.max_minutes == 0:
        config = with_optim(config, max_steps=steps_of_epochs(optim, pictures))
    optim = config.optim
    if optim.unet_share > 0 and optim.max_steps and not optim.unet_steps:
        config = with_optim(config, unet_steps=round(optim.unet_share * optim.max_steps))
    return config
