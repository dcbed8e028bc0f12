"""Turn a checkpoint of the authors' released code into a pipeline that computes the same: the command."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from diffusionad.cli.options import CannotRun, output_option, run

from .push_options import check_empty

EPILOG = """\b
example:
  diffusionad import-official --checkpoint params-best.pt --category bottle --output models/bottle
"""

NOT_CALIBRATED = """\
The threshold is {threshold:g}, which promises nothing: their checkpoints hold none. Before you rely on
verdicts, calibrate with good pictures that did not train the model:
    diffusionad calibrate --model {folder} --data GOOD"""


@click.command("import-official", epilog=EPILOG)
@click.option(
    "--checkpoint",
    required=True,
    metavar="PATH",
    type=click.Path(path_type=Path),
    help="A params-*.pt, as the authors' train.py writes it; no code in it is run.",
)
@click.option("--category", required=True, metavar="NAME", help="Category of its training, such as bottle.")
@output_option("Folder of the pipeline, new or empty.")
def import_official_command(checkpoint: Path, category: str, output: Path) -> None:
    """Turn a checkpoint of the authors' released code into a pipeline that computes the same."""
    from .official_checkpoint import read_checkpoint, to_pipeline

    try:
        check_empty(output)
        pipeline: Any = to_pipeline(read_checkpoint(checkpoint), category)
        pipeline.save_pretrained(str(output))
    except (ValueError, OSError) as error:
        raise CannotRun(str(error)) from error
    size, networks = pipeline.config.image_size, (pipeline.unet, pipeline.segmenter)
    millions = " + ".join(f"{network.num_parameters() / 1e6:.1f}" for network in networks)
    print(f"Saved `{output}`: {size} x {size} pixels, {millions} million weights (UNet + segmenter).")
    print(NOT_CALIBRATED.format(threshold=pipeline.config.threshold, folder=output))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return run(import_official_command, arguments, "python -m hub.import_official")


if __name__ == "__main__":
    sys.exit(main())
