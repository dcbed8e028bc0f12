"""`diffusionad inspect-large`: a TIFF that is larger than memory should hold, at its own scale."""

import json
from dataclasses import asdict
from pathlib import Path

import click

from diffusionad.cli.drawing import make_output
from diffusionad.cli.model import load_pipeline
from diffusionad.cli.options import CannotRun, model_option, one_line, output_option

EPILOG = """\
\b
Example:
  diffusionad inspect-large wafer.tif --model models/wafer --output report

\b
Written to the output folder:
  NAME.map.tif    anomaly map, float32 in 0..1, tiled, with smaller levels for viewers
  NAME.json       verdict, score and regions

\b
Exit status:
  0  done    2  it cannot be done; stderr says why
"""


@click.command("inspect-large", epilog=EPILOG, context_settings={"max_content_width": 110})
@click.argument("picture", type=click.Path(path_type=Path), metavar="PICTURE")
@model_option()
@output_option("Folder for map and result.")
@click.option("--batch-size", type=click.IntRange(1), default=8, metavar="N", help="Tiles at a time (8).")
@click.option("--device", type=click.Choice(("auto", "cpu", "cuda", "mps")), default="auto")
@click.option("--threshold", type=float, metavar="X", help="Scores above are defective; in 0..1.")
def inspect_large_command(
    picture: Path, model: str, output: Path, batch_size: int, device: str, threshold: float | None
) -> int:
    """Find defects in PICTURE, a TIFF of any size, at its own scale.

    The model must have been trained and calibrated at this scale: on pieces as large as its square.
    """
    if not picture.is_file():
        raise CannotRun(f"`{picture}` does not exist.")
    make_output(output)
    from diffusionad.inspection.large import inspect_large
    from diffusionad.inspection.results import header

    settings = {} if threshold is None else {"threshold": threshold}
    pipeline = load_pipeline(model, device, settings=settings)
    map_path = output / f"{picture.name}.map.tif"
    try:
        found = inspect_large(pipeline, picture, map_path, batch_size)
        result = {"file": str(picture), "verdict": found.word, **asdict(found), "map": map_path.name}
        text = json.dumps(header(pipeline, model) | {"result": result}, indent=1)
        (output / f"{picture.name}.json").write_text(text, encoding="utf-8")
    except (ValueError, RuntimeError, OSError) as error:
        raise CannotRun(one_line(error)) from error
    n = len(found.regions)
    print(
        f"{found.word.upper()}  {found.score:.3f}  {picture}  ({n} region{'s' * (n != 1)}; map: {map_path})"
    )
    return 0
