"""Does a model tell pictures of its part from others? Shares of pictures that it refuses, by kind.

    python -m training.studies.familiarity --data DATA/washer --model washer --foreign screws=DATA/screw/test
        --foreign textures=TEXTURES --output benchmarks/familiarity

Held-out good and defective pictures must hardly be refused, foreign ones must be: other data sets, pictures
of nothing, and good pictures in another light or view. The model is asked as it is where its calibration has
learned what the part looks like; otherwise it learns it from the calibration pictures that its run lists in
`splits.json`, or from `--calibration`. Each call adds a model to NAME.json and writes NAME.md.
"""

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
from PIL import Image, ImageFilter, ImageOps
from tqdm import tqdm

from diffusionad import DiffusionADPipeline
from diffusionad.cli.options import CannotRun, data_option, model_option, output_option, run
from diffusionad.files import replacing
from diffusionad.images.image_io import ImageError, find_images
from diffusionad.loading.pretrained import find_folder
from diffusionad.postprocessing.calibration import Calibration
from diffusionad.postprocessing.familiarity import Familiarity, learn_familiarity

from ..data.catalog import scan
from ..data.records import GOOD
from ..evaluation.provenance import provenance

ALTERED, MADE_UP = 4, 3  # pictures of each kind
UPSIDE_DOWN = "upside down"
BLUR = 1 / 64  # standard deviation, as a share of the longer side
GAINS = {"overexposed": 2.0, "underexposed": 0.4}
LEVELS = {"nearly black": 6, "nearly grey": 128, "nearly white": 249}  # of 255, with the noise of a camera
CAMERA_NOISE = 3  # standard deviation, of 255

Picture = Path | Image.Image


def altered(good: Sequence[Path]) -> dict[str, list[Picture]]:
    """Return good pictures in another light or view, by kind."""
    kinds: dict[str, list[Picture]] = {}
    for path in good[:ALTERED]:
        picture = Image.open(path).convert("RGB")
        half = picture.width // 2
        changed = {
            "blurred": picture.filter(ImageFilter.GaussianBlur(BLUR * max(picture.size))),
            **{name: picture.point(lambda v, g=gain: min(round(g * v), 255)) for name, gain in GAINS.items()},
            "negative": ImageOps.invert(picture),
            "half out of sight": picture.transform(
                picture.size, Image.Transform.AFFINE, (1, 0, half, 0, 1, 0)
            ),
            UPSIDE_DOWN: picture.transpose(Image.Transpose.ROTATE_180),
        }
        for name, image in changed.items():
            kinds.setdefault(name, []).append(image)
    return kinds


def made_up(size: tuple[int, int]) -> dict[str, list[Picture]]:
    """Return pictures of nothing, of `size` (width, height), by kind."""
    rng = np.random.default_rng(0)
    shape = (size[1], size[0], 3)

    def draw(pixels: np.ndarray) -> Image.Image:
        return Image.fromarray(pixels.round().clip(0, 255).astype(np.uint8))

    kinds: dict[str, list[Picture]] = {
        name: [draw(rng.normal(level, CAMERA_NOISE, shape)) for _ in range(MADE_UP)]
        for name, level in LEVELS.items()
    }
    kinds["noise"] = [draw(rng.uniform(0, 255, shape)) for _ in range(MADE_UP)]
    kinds["black"] = [Image.new("RGB", size)]
    return kinds


def spread_out(paths: Iterable[Path], limit: int) -> list[Path]:
    """Return at most `limit` paths, evenly spaced."""
    paths = list(paths)
    if len(paths) <= limit:
        return paths
    return [paths[i] for i in np.linspace(0, len(paths) - 1, limit).round().astype(int)]


def appearances(
    pipeline: DiffusionADPipeline, pictures: Sequence[Picture], name: str
) -> Iterator[np.ndarray | None]:
    """Yield the statistics [K] of each picture; None where the pipeline refuses it as blank."""
    for picture in tqdm(pictures, desc=name, unit="picture", disable=None, leave=False):
        try:
            yield pipeline(picture, batch_size=1).appearance[0]
        except ImageError:
            yield None


def familiarity_of(pipeline: DiffusionADPipeline, folder: Path, pictures: Sequence[str]) -> Familiarity:
    """Return the model's own test, or one learned from pictures: those given, else its run's.

    Raises:
        ValueError: there are none, or fewer than 20.
    """
    splits, files = folder.parent / "splits.json", find_images(pictures) if pictures else []
    stored = pipeline.config.calibration
    if not files and stored is not None and stored.get("familiarity") is not None:
        learned = Calibration.from_dict(stored).familiarity
    else:
        if not files and splits.is_file():
            listed = json.loads(splits.read_text(encoding="utf-8"))["calibration"]
            files = [Path(entry["file"]) for entry in listed]
        found = [a for a in appearances(pipeline, files, "calibration") if a is not None]
        learned = learn_familiarity(found)
    if learned is None:
        raise ValueError(
            f"`{folder}` has not learned what its part looks like; give 20 or more --calibration."
        )
    return learned


def study(
    model: str, data: str, calibration: Sequence[str], foreign: dict[str, str], limit: int
) -> dict[str, Any]:
    """Return the row of a model: for each kind of picture its number, how many are refused, and its role.

    Raises:
        ValueError: no test pictures, or nothing to calibrate with.
        FileNotFoundError: data or model do not exist.
    """
    folder = find_folder(model)
    pipeline = DiffusionADPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    records = scan(data).test
    by_kind = {
        name: [r.image for r in records if r.defect == name] for name in sorted({r.defect for r in records})
    }
    if not by_kind.get(GOOD):
        raise ValueError(f"`{data}` has no good test pictures; put them into `test/good`.")
    learned = familiarity_of(pipeline, folder, calibration)
    good = spread_out(by_kind.pop(GOOD), limit)
    kinds: list[tuple[str, str, Sequence[Picture]]] = [("good", GOOD, good)]
    kinds += [("defective", name, spread_out(paths, limit)) for name, paths in by_kind.items()]
    kinds += [("foreign", name, spread_out(find_images([path]), limit)) for name, path in foreign.items()]
    kinds += [("foreign", name, pictures) for name, pictures in made_up(Image.open(good[0]).size).items()]
    kinds += [("altered", name, pictures) for name, pictures in altered(good).items()]
    rows = {}
    for role, name, pictures in kinds:
        found = appearances(pipeline, pictures, name)
        refused = [looks is None or learned.judge(looks)[0] is False for looks in found]
        rows[name] = {"role": role, "n": len(refused), "refused": sum(refused)}
    return {
        **provenance(pipeline, folder),
        "calibration_pictures": len(learned.scores),
        "promised_rate": learned.rate,
        "kinds": rows,
    }


def markdown(models: dict[str, dict[str, Any]]) -> str:
    """Return a table with a line a kind of picture and a column a model: refused of inspected."""
    kinds = {name: row["role"] for model in models.values() for name, row in model["kinds"].items()}
    roles = ("good", "defective", "foreign", "altered")
    lines = [["refused", *models], ["---"] + ["--:"] * len(models)]
    lines.append(["promised at most", *(f"{100 * m['promised_rate']:.1f} %" for m in models.values())])
    for role in roles:
        for name in (name for name, of in kinds.items() if of == role):
            rows = [model["kinds"].get(name) for model in models.values()]
            cells = [f"{row['refused']} of {row['n']}" if row else "-" for row in rows]
            lines.append([name if role in ("good", "foreign") else f"{role}: {name}", *cells])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _by_name(foreign: Sequence[str]) -> dict[str, str]:
    pairs = [entry.partition("=") for entry in foreign]
    if not all(name and path for name, _, path in pairs):
        raise ValueError(f"--foreign is {list(foreign)}; give NAME=PATH.")
    return {name: path for name, _, path in pairs}


@click.command("familiarity")
@data_option("Data set of the model's part, with a test split.")
@model_option()
@output_option("Base name of the results: NAME.json and NAME.md.")
@click.option("--name", help="Of the model in the table (the folder of the data).")
@click.option("--calibration", multiple=True, metavar="PATH", help="Good pictures that teach what is usual.")
@click.option("--foreign", multiple=True, metavar="NAME=PATH", help="Pictures of something else.")
@click.option("--limit", default=40, show_default=True, help="Pictures of a kind.")
def familiarity_command(
    data: str,
    model: str,
    output: Path,
    name: str | None,
    calibration: tuple[str, ...],
    foreign: tuple[str, ...],
    limit: int,
) -> None:
    """Count which pictures a model does not take for its part."""
    path = output.with_suffix(".json")
    try:
        row = study(model, data, calibration, _by_name(foreign), limit)
    except (ValueError, FileNotFoundError) as error:
        raise CannotRun(str(error)) from error
    models = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    models[name or Path(data).name] = row
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        partial.write_text(json.dumps(models, indent=1) + "\n", encoding="utf-8")
    table = markdown(models)
    output.with_suffix(".md").write_text(table, encoding="utf-8")
    click.echo(table, nl=False)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    return run(familiarity_command, arguments, "python -m training.studies.familiarity")


if __name__ == "__main__":
    sys.exit(main())
