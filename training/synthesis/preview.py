"""Show and time the synthetic defects that a network is trained on: `diffusionad preview`."""

import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from ..config.loader import load_config
from ..config.schema import DataConfig, SynthesisConfig
from ..data.bit_depth import find_bit_depth
from ..data.catalog import scan
from .anomalies import SyntheticSample, synthesize
from .dataset import crop_window, to_model_size
from .foreground import foreground_source
from .textures import TextureBank

CAPTION = 14  # pixels above each sample, for the name of its family
GAP = 4
SIZE_MIN = 16  # pixels, of the side of a sample

Pictures = list[tuple[np.ndarray, np.ndarray | None]]  # float32 [H,W,3] in [0, 1] and foreground, bool [H,W]


def write_preview(
    config: SynthesisConfig,
    data: DataConfig,
    output: Path | None,
    *,
    count: int = 32,
    columns: int = 4,
    seed: int = 0,
    benchmark: bool = False,
    say: Callable[[str], None] = print,
) -> None:
    """Write a sheet of synthetic training samples, time the synthesis, or both.

    Args:
        config: settings of the defects.
        data: settings of the pictures; `path` and `category` name the data set.
        output: picture file of the sheet (normal picture, synthetic sample, mask); None for no sheet.
        count: number of samples.
        columns: samples abreast on the sheet.
        seed: seed of the pictures, crops and defects.
        benchmark: time each family of `config`, then `config` itself.
        say: takes the lines of the report.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: a setting is not allowed, or there are no pictures or textures.
    """
    for name, value, least in (
        ("count", count, 1),
        ("columns", columns, 1),
        ("size", data.image_size, SIZE_MIN),
    ):
        if value < least:
            raise ValueError(f"`{name}` is {value}; it must be {least} or more")
    textures = TextureBank(Path(data.texture_folder) if data.texture_folder else None, data.image_size)
    rng = np.random.default_rng(seed)
    pictures = _pictures(data, count, rng)
    found = sum(foreground is not None for _, foreground in pictures)
    say(f"foreground found in {found} of {len(pictures)} pictures")
    crops = [_crop(*pictures[i % len(pictures)], data, [seed, i]) for i in range(count)]
    always = dataclasses.replace(config, probability=1)
    if output is not None:
        samples = [
            (image, synthesize(image, rng, always, textures, foreground)) for image, foreground in crops
        ]
        contact_sheet(samples, columns).save(output)
    if benchmark:
        for family in config.families:
            rate = samples_per_second(crops, dataclasses.replace(always, families=(family,)), textures)
            say(f"{family:10s} {rate:6.0f} samples/s of one core, all with a defect")
        rate = samples_per_second(crops, config, textures)
        say(f"as trained {rate:6.0f} samples/s of one core, {config.probability:.0%} with a defect")


def preview_settings(
    path: str,
    category: str = "",
    *,
    preset: str | None = None,
    families: Sequence[str] = (),
    kind: str | None = None,
    textures: str | None = None,
    foreground: str | None = None,
    size: int | None = None,
) -> tuple[SynthesisConfig, DataConfig]:
    """Return the settings of a preview: those of a preset, replaced where an argument is given.

    Args:
        path: a data set, or a folder of good pictures.
        category: category of a data set with several.
        preset: name of a preset or a TOML file; None for the paper's settings.
        families: families of defects.
        kind: kind of the part, one of `KINDS`.
        textures: folder of textures.
        foreground: source of the foreground.
        size: side of the samples in pixels.

    Returns:
        The settings of the defects and of the pictures.

    Raises:
        ValueError: a setting is unknown or not allowed.
    """
    preset_config = load_config(preset) if preset else None
    config = preset_config.synthesis if preset_config else SynthesisConfig()
    data = preset_config.data if preset_config else DataConfig()
    if families:
        config = dataclasses.replace(config, families=tuple(families))
    if kind:
        config = dataclasses.replace(config, kind=kind)
    image_size = size or data.image_size
    return config, dataclasses.replace(
        data,
        path=path,
        category=category,
        image_size=image_size,
        shorter_side=max(image_size, data.shorter_side) if data.shorter_side else 0,
        texture_folder=textures or data.texture_folder,
        foreground=foreground or data.foreground,
    )


def _pictures(data: DataConfig, count: int, rng: np.random.Generator) -> Pictures:
    """Read up to `count` random training pictures and find their foregrounds."""
    paths = [record.image for record in scan(data.path, data.category or None).train]
    data = dataclasses.replace(data, bit_depth=data.bit_depth or find_bit_depth(paths) or 0)  # as training
    find_foreground = foreground_source(data.foreground)
    chosen = [paths[index] for index in rng.permutation(len(paths))[:count]]
    images = [to_model_size(path, data) for path in chosen]
    return [(image, find_foreground(image, path)) for image, path in zip(images, chosen, strict=True)]


def _crop(
    image: np.ndarray, foreground: np.ndarray | None, data: DataConfig, seed: list[int]
) -> tuple[np.ndarray, np.ndarray | None]:
    """Crop as in training: a tile where the pipeline sees tiles, else the whole picture."""
    window = crop_window(image.shape[:2], data.image_size, np.random.default_rng(seed))
    return image[window], None if foreground is None else foreground[window]


def contact_sheet(samples: list[tuple[np.ndarray, SyntheticSample]], columns: int) -> Image.Image:
    """Lay out normal picture [S,S,3] in [0, 1], synthetic sample and mask, `columns` triples abreast."""
    size = samples[0][0].shape[0]
    width, height = 3 * (size + GAP) + GAP, size + CAPTION + GAP
    sheet = Image.new("RGB", (columns * width, -(-len(samples) // columns) * height), "white")
    drawing = ImageDraw.Draw(sheet)
    for index, (normal, sample) in enumerate(samples):
        left, top = index % columns * width, index // columns * height
        drawing.text((left, top), sample.family or "normal", "black")
        for place, panel in enumerate((normal, sample.image, np.repeat(sample.mask[..., None], 3, axis=-1))):
            picture = Image.fromarray((panel * 255 + 0.5).astype(np.uint8))
            sheet.paste(picture, (left + place * (size + GAP), top + CAPTION))
    return sheet


def samples_per_second(crops: Pictures, config: SynthesisConfig, textures: TextureBank) -> float:
    """Measure the samples that `synthesize` makes in a second of one core, in processor time.

    The texture bank is filled first. The same 200 samples run five times and the quickest run counts: other
    programs can only slow it down.
    """
    rng = np.random.default_rng(0)
    for _ in range(4 * len(textures)):
        textures.draw_picture(rng)
    seconds = []
    for _ in range(5):
        rng = np.random.default_rng(0)
        start = time.process_time()
        for index in range(200):
            image, foreground = crops[index % len(crops)]
            synthesize(image, rng, config, textures, foreground)
        seconds.append(time.process_time() - start)
    return 200 / min(seconds)
