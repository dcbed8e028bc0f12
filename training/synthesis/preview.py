"""To see and to time what the synthesis makes: the command line of `python -m training.synthesis`."""

import argparse
import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from ..config.schema import DataConfig, load_config, preset_names
from ..data.catalog import scan
from .anomalies import FAMILIES, KINDS, SynthesisConfig, SyntheticSample, synthesize
from .dataset import crop_window, to_model_size
from .foreground import foreground_source
from .textures import TextureBank

CAPTION = 14  # pixels above each sample, for the name of its family
GAP = 4


def contact_sheet(samples: list[tuple[np.ndarray, SyntheticSample]], columns: int) -> Image.Image:
    """Normal picture [S,S,3] in [0, 1], synthetic one, mask; `columns` such triples abreast."""
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


def samples_per_second(
    images: Sequence[np.ndarray],
    foregrounds: Sequence[np.ndarray | None],
    config: SynthesisConfig,
    textures: TextureBank,
) -> float:
    """Samples of `synthesize` a second of one core, in processor time, after the texture bank was warmed.

    The same 200 samples five times, the quickest counts: what else the machine does can only slow it down.
    """
    rng = np.random.default_rng(0)
    for _ in range(4 * len(textures)):
        textures.draw_picture(rng)
    seconds = []
    for _ in range(5):
        rng = np.random.default_rng(0)
        start = time.process_time()
        for index in range(200):
            choice = index % len(images)
            synthesize(images[choice], rng, config, textures, foregrounds[choice])
        seconds.append(time.process_time() - start)
    return 200 / min(seconds)


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m training.synthesis", description=__doc__)
    parser.add_argument("--data", required=True, help="a data set, or a folder of good pictures")
    parser.add_argument("--category", help="of a data set of several")
    parser.add_argument("--output", type=Path, help="the contact sheet: picture, synthetic, mask")
    parser.add_argument("--benchmark", action="store_true", help="print samples per second of each family")
    parser.add_argument(
        "--preset",
        help=f"whose defects and crops, {', '.join(preset_names())} or a TOML file; default: the paper's",
    )
    parser.add_argument("--families", help=f"in place of the preset's, of {','.join(FAMILIES)}")
    parser.add_argument("--kind", choices=KINDS, help="in place of the preset's")
    parser.add_argument("--textures", type=Path, help="folder of textures such as DTD; default: the preset's")
    parser.add_argument(
        "--foreground", help="classical, rembg, none, or a folder of masks; default: the preset's"
    )
    parser.add_argument("--size", type=int, help="side in pixels; default: the preset's")
    parser.add_argument("--count", type=int, default=32, help="pictures on the sheet")
    parser.add_argument("--columns", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    if options.output is None and not options.benchmark:
        parser.error("nothing to do: give --output SHEET.png, --benchmark, or both")
    if options.count < 1 or options.columns < 1 or (options.size is not None and options.size < 16):
        parser.error("--count and --columns must be 1 or more, --size 16 or more")
    try:
        options.config = _config(options)
        options.data_config = _data_config(options)
        options.paths = [record.image for record in scan(options.data, options.category).train]
        data = options.data_config
        options.source = foreground_source(data.foreground)
        options.bank = TextureBank(data.texture_folder or None, data.image_size)
    except (ValueError, FileNotFoundError) as error:
        parser.error(str(error))
    return options


def _config(options: argparse.Namespace) -> SynthesisConfig:
    """The preset's, or the paper's, with what was asked for."""
    config = load_config(options.preset).synthesis if options.preset else SynthesisConfig()
    given = {"families": options.families and tuple(options.families.split(",")), "kind": options.kind}
    return dataclasses.replace(config, **{k: v for k, v in given.items() if v})


def _data_config(options: argparse.Namespace) -> DataConfig:
    """How the preset sees pictures: their size, crops of them, what it pastes where."""
    config = load_config(options.preset).data if options.preset else DataConfig()
    size = options.size or config.image_size
    shorter_side = max(size, config.shorter_side) if config.shorter_side else 0
    given = {
        "foreground": options.foreground,
        "texture_folder": str(options.textures) if options.textures else None,
    }
    given = {name: value for name, value in given.items() if value}
    return dataclasses.replace(config, image_size=size, shorter_side=shorter_side, **given)


def _cropped(
    image: np.ndarray, foreground: np.ndarray | None, options: argparse.Namespace, index: int
) -> tuple[np.ndarray, np.ndarray | None]:
    """As training sees it: a crop where the pipeline sees tiles, else all of it."""
    rng = np.random.default_rng([options.seed, index])
    window = crop_window(image.shape[:2], options.data_config.image_size, rng)
    return image[window], None if foreground is None else foreground[window]


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    options = _parse(arguments)
    rng = np.random.default_rng(options.seed)
    paths = [options.paths[index] for index in rng.permutation(len(options.paths))[: options.count]]
    images = [to_model_size(path, options.data_config) for path in paths]
    foregrounds = [options.source(image, path) for image, path in zip(images, paths, strict=True)]
    print(f"foreground found in {sum(mask is not None for mask in foregrounds)} of {len(images)} pictures")
    pairs = [
        _cropped(images[i % len(images)], foregrounds[i % len(images)], options, i)
        for i in range(options.count)
    ]
    images, foregrounds = zip(*pairs, strict=True)
    always = dataclasses.replace(options.config, probability=1)
    if options.output is not None:
        samples = []
        for image, foreground in pairs:
            samples.append((image, synthesize(image, rng, always, options.bank, foreground)))
        contact_sheet(samples, options.columns).save(options.output)
    if options.benchmark:
        for family in options.config.families:
            config = dataclasses.replace(always, families=(family,))
            rate = samples_per_second(images, foregrounds, config, options.bank)
            print(f"{family:10s} {rate:6.0f} samples/s of one core, all with a defect")
        rate = samples_per_second(images, foregrounds, options.config, options.bank)
        print(f"as trained {rate:6.0f} samples/s of one core, {options.config.probability:.0%} with a defect")
