"""Teach a pipeline what patches of good parts look like in pretrained features."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from diffusionad.images.image_io import resize
from diffusionad.images.image_processor import ImageInput, ImageProcessor, as_list
from diffusionad.models.feature_memory import PATCHES_MAX, FeatureMemory, greedy_coreset
from diffusionad.postprocessing.fusion import MAPS
from diffusionad.postprocessing.scoring import top_mean

if TYPE_CHECKING:
    from diffusionad.pipeline import DiffusionADPipeline

PATCHES = 4096
CANDIDATES = 100_000  # patches that the memory is chosen from
SIDES = 256, 512  # least and greatest size at which features are looked at: enlarging adds nothing
SIZED = 20  # pictures whose size is looked at
PIXELS = 1000  # of a map that its median is estimated from


def learn_features(
    pipeline: "DiffusionADPipeline",
    image: ImageInput | Sequence[ImageInput],
    held_out: ImageInput | Sequence[ImageInput],
    num_patches: int = PATCHES,
    seed: int = 0,
    report: Callable[[str, int], None] | None = None,
) -> FeatureMemory:
    """Give a pipeline a `feature_memory` of good parts; its maps and scores rest on both from then on.

    The stored calibration no longer applies afterwards; calibrate again, with other pictures than these.

    Args:
        pipeline: gets the component, in place of one that it has.
        image: pictures of good parts that fill the memory, as the pipeline's call takes them.
        held_out: further pictures of good parts: how far good ones are from the memory, and what the
            segmenter says of them, makes the units in which both are added.
        num_patches: patches that are kept.
        seed: of the sample of patches and the random projection.
        report: called after each picture with "memory" or "units" and its number.

    Returns:
        The memory.

    Raises:
        ValueError: a picture that cannot be used, or the package of pretrained weights is not installed.
        FileNotFoundError: no such picture.
    """
    if not 1 <= num_patches <= PATCHES_MAX:
        raise ValueError(f"`num_patches` is {num_patches!r}; give an integer in 1..{PATCHES_MAX}.")
    good, others = as_list(image), as_list(held_out)
    for sources in (good, others):
        pipeline.check_inputs(sources, pipeline.settings(), None, 1, "np")
    if pipeline.config.contrast != 1:  # units are those of the networks' own maps
        pipeline.configure(contrast=1.0, calibration=None)
    processor = ImageProcessor.from_config(pipeline.config)
    before = pipeline.feature_memory
    pipeline.register_modules(feature_memory=None)  # maps of the segmenter alone
    try:
        sizes = [processor.read(source, i).shape[:2] for i, source in enumerate(good[:SIZED])]
        side = int(np.clip(np.median([min(size) for size in sizes]), *SIDES))
        memory = FeatureMemory.with_pretrained_features(shorter_side=side).to(pipeline.device)
        views = _views(memory, good, processor, report)
        memory.patches = choose_patches(memory, views, len(good), num_patches, seed).to(memory.device)
        units = _units(pipeline, memory, others, processor, report)
        memory.register_to_config(num_patches=len(memory.patches), **units)
    except BaseException:
        pipeline.register_modules(feature_memory=before)
        raise
    pipeline.register_modules(feature_memory=memory)
    pipeline.configure(calibration=None)
    return memory


def _views(
    memory: FeatureMemory,
    sources: list[ImageInput],
    processor: ImageProcessor,
    report: Callable[[str, int], None] | None,
) -> Iterator[np.ndarray]:
    """Yield each picture as the network sees it, [H,W,3] in [0, 1]."""
    for i, source in enumerate(sources):
        picture = processor.read(source, i)
        yield resize(picture, memory.size_of(picture.shape[:2]))
        if report is not None:
            report("memory", i)


@torch.no_grad()
def choose_patches(
    memory: FeatureMemory, views: Iterable[np.ndarray], number: int, count: int, seed: int
) -> Tensor:
    """Choose the patches that a memory keeps of good pictures: a coreset of a random sample.

    Args:
        memory: describes the patches.
        views: pictures as its network sees them, [H,W,3] in [0, 1].
        number: number of views.
        count: number of patches.
        seed: of the sample and the random projection.

    Returns:
        [P,C], float32 on the CPU; fewer than `count` where the pictures have fewer.
    """
    generator = torch.Generator().manual_seed(seed)
    each = -(-CANDIDATES // number)
    sample = []
    for view in views:
        picture = torch.from_numpy(view).permute(2, 0, 1)[None]
        described = memory.describe(picture.to(memory.device))[0]  # [C,h,w]
        patches = described.flatten(1).T.float().cpu()
        sample.append(patches[torch.randperm(len(patches), generator=generator)[:each]])
    pool = torch.cat(sample)  # [M,C]
    return pool[greedy_coreset(pool, count, generator)]


def _units(
    pipeline: "DiffusionADPipeline",
    memory: FeatureMemory,
    sources: list[ImageInput],
    processor: ImageProcessor,
    report: Callable[[str, int], None] | None,
) -> dict[str, tuple[float, float]]:
    """Return for each map what counts as 0, the median pixel of good parts, and as 1, their median peak."""
    rng = np.random.default_rng(0)
    pixels: dict[str, list[np.ndarray]] = {name: [] for name in MAPS}
    peaks: dict[str, list[float]] = {name: [] for name in MAPS}
    area, share = pipeline.config.image_size**2, pipeline.config.top_fraction
    for i, source in enumerate(sources):
        prepared = processor.prepare(source, i, memory.size_of)
        assert prepared.view is not None
        # At the model's size already, so that maps and reconstructions are those of the picture's tiles.
        found = pipeline(prepared.tiled.picture, output_type="np")
        prepared.tiled.anomaly_map = found.anomaly_map[0]
        prepared.tiled.reconstruction = np.asarray(found.reconstruction[0])
        with torch.no_grad():
            maps = memory.maps(prepared.tiled, prepared.view)
        for name, values in maps.items():
            pixels[name].append(rng.choice(values.ravel(), PIXELS))
            peaks[name].append(top_mean(values, share, area=area))
        if report is not None:
            report("units", i)
    units = {}
    for name in MAPS:
        zero, one = float(np.median(np.concatenate(pixels[name]))), float(np.median(peaks[name]))
        units[f"{name}_range"] = (zero, max(one, zero + 1e-6))
    return units
