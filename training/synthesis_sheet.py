"""To see and to time what the synthesis makes: the command line of `python -m training.synthesis`."""

import argparse
import time
from pathlib import Path

import numpy as np
from PIL import Image

from training.foreground import foreground_source
from training.synthesis import FAMILIES, KINDS, SynthesisConfig, synthesize
from training.textures import PICTURE_SUFFIXES, TextureBank


def contact_sheet(rows: list[tuple[np.ndarray, np.ndarray, np.ndarray]], columns: int) -> Image.Image:
    """Triples (normal [S,S,3], synthetic [S,S,3], mask [S,S]), all in [0, 1], `columns` triples abreast."""
    size, gap = rows[0][0].shape[0], 4
    width, height = 3 * size + 2 * gap, size + gap
    sheet = Image.new("RGB", (columns * width, -(-len(rows) // columns) * height), "white")
    for index, (normal, damaged, mask) in enumerate(rows):
        left, top = index % columns * width, index // columns * height
        for place, panel in enumerate((normal, damaged, np.repeat(mask[..., None], 3, axis=-1))):
            sheet.paste(Image.fromarray((panel * 255 + 0.5).astype(np.uint8)), (left + place * size, top))
    return sheet


def samples_per_second(
    images: list[np.ndarray],
    foregrounds: list[np.ndarray | None],
    config: SynthesisConfig,
    textures: TextureBank,
) -> float:
    """Throughput of `synthesize` in one process: 300 samples, after the texture bank was warmed."""
    rng = np.random.default_rng(0)
    for _ in range(4 * len(textures)):
        textures.draw_picture(rng)
    start = time.perf_counter()
    for index in range(300):
        choice = index % len(images)
        synthesize(images[choice], rng, config, textures, foregrounds[choice])
    return 300 / (time.perf_counter() - start)


def _read(path: Path, size: int) -> np.ndarray:
    """A picture squashed to size x size, float32 [S,S,3] in [0, 1]."""
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB").resize((size, size)), np.float32) / 255


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m training.synthesis", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of good pictures")
    parser.add_argument("--output", type=Path, help="the contact sheet: picture, synthetic, mask")
    parser.add_argument("--benchmark", action="store_true", help="print samples per second of each family")
    parser.add_argument("--families", default="perlin", help=f"of {','.join(FAMILIES)}; default: perlin")
    parser.add_argument("--kind", default="auto", choices=KINDS)
    parser.add_argument("--textures", type=Path, help="folder of textures such as DTD; default: built-in")
    parser.add_argument("--foreground", default="classical", help="classical, rembg, none, or a folder")
    parser.add_argument("--size", type=int, default=256, help="side in pixels")
    parser.add_argument("--count", type=int, default=32, help="pictures on the sheet")
    parser.add_argument("--columns", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    if options.output is None and not options.benchmark:
        parser.error("nothing to do: give --output SHEET.png, --benchmark, or both")
    if options.count < 1 or options.columns < 1 or options.size < 16:
        parser.error("--count and --columns must be 1 or more, --size 16 or more")
    options.families = tuple(options.families.split(","))
    options.paths = [
        path for path in sorted(options.data.glob("*")) if path.suffix.lower() in PICTURE_SUFFIXES
    ]
    if not options.paths:
        parser.error(f"--data {options.data} holds no picture ({', '.join(PICTURE_SUFFIXES)})")
    return options


def main(arguments: list[str] | None = None) -> None:
    options = _parse(arguments)
    rng = np.random.default_rng(options.seed)
    paths = [options.paths[index] for index in rng.permutation(len(options.paths))[: options.count]]
    images = [_read(path, options.size) for path in paths]
    source = foreground_source(options.foreground)
    foregrounds = [source(image, path) for image, path in zip(images, paths, strict=True)]
    print(f"foreground found in {sum(mask is not None for mask in foregrounds)} of {len(images)} pictures")

    textures = TextureBank(options.textures, options.size)
    if options.output is not None:
        config = SynthesisConfig(probability=1, kind=options.kind, families=options.families)
        rows = []
        for index in range(options.count):
            image, foreground = images[index % len(images)], foregrounds[index % len(images)]
            sample = synthesize(image, rng, config, textures, foreground)
            rows.append((image, sample.image, sample.mask))
        contact_sheet(rows, options.columns).save(options.output)
    if options.benchmark:
        for family in options.families:
            config = SynthesisConfig(probability=1, kind=options.kind, families=(family,))
            print(f"{family:8s} {samples_per_second(images, foregrounds, config, textures):6.0f} samples/s")
