"""`diffusionad certify`: what a model will miss."""

from pathlib import Path

import click

from diffusionad.cli.model import load_pipeline, running_options
from diffusionad.cli.options import CannotRun, data_option, output_option

from ..guarding import sentences

EPILOG = """\
\b
Example:
  diffusionad certify runs/washer/pipeline --data good/ --output certificate
"""


@click.command("certify", epilog=EPILOG, context_settings={"max_content_width": 110})
@click.argument("model", metavar="MODEL")
@data_option("Pictures of good parts that the model was not trained on: a folder, a file or a glob.")
@output_option("New folder for certificate.json, trials.csv, rates.png and where.png.")
@click.option(
    "--max-minutes",
    type=click.FloatRange(min=0, min_open=True),
    default=5.0,
    show_default=True,
    metavar="X",
    help="Time; where it ends, all sizes and contrasts were tried equally often.",
)
@click.option(
    "--pictures",
    type=click.IntRange(min=1),
    default=1000,
    show_default=True,
    metavar="N",
    help="At most so many inspections of damaged pictures.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, metavar="N", help="Seed.")
@running_options
def certify_command(
    model: str, data: str, output: Path, max_minutes: float, pictures: int, seed: int, device: str, dtype: str
) -> int:
    """Measure what a model will miss, with defects of exact size and contrast on good pictures.

    MODEL is a saved, calibrated model. Whether the pictures show good parts of its kind cannot be checked.
    """
    from diffusionad import DiffusionADPipeline
    from diffusionad.images.image_io import find_images
    from diffusionad.inspection.recalibration import check_held_out
    from diffusionad.loading.pretrained import find_folder

    from .certificate import certify

    with sentences():
        files = find_images((data,))
        check_held_out(find_folder(model), files)
        pipeline = load_pipeline(model, device, dtype)
        if not isinstance(pipeline, DiffusionADPipeline):
            raise CannotRun(
                "an exported model cannot be certified; give the model that it was exported from."
            )
        certificate = certify(pipeline, files, output, pictures=pictures, max_minutes=max_minutes, seed=seed)
    print("\n".join([*certificate["sentences"], certificate["caveat"], f"In {output}"]))
    return 0
