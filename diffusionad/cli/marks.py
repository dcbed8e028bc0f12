"""`diffusionad learn-marks`: teach a model the marks that good parts carry."""

from pathlib import Path

import click

from diffusionad.cli.model import load_pipeline, running_options
from diffusionad.cli.options import CannotRun, model_option, one_line, output_option


@click.command("learn-marks")
@click.option(
    "--data",
    multiple=True,
    required=True,
    metavar="PATH",
    help="Pictures of good parts: files, folders (with all below), globs; may be given several times.",
)
@model_option()
@output_option("Folder for the model with its memory of marks; must not exist yet.")
@click.option("--num-noise-samples", type=int, metavar="N", help="Noise draws to average; fewer are faster.")
@click.option("--quiet", is_flag=True, help="Print errors only.")
@running_options
def learn_marks_command(
    data: tuple[str, ...],
    model: str,
    output: Path,
    num_noise_samples: int | None,
    quiet: bool,
    device: str,
    dtype: str,
) -> int:
    """Teach a model the marks that good parts carry, such as stamps of a fixture.

    Later maps fade where a known mark comes back. Show good parts only, and none that calibrates the model:
    the threshold does not hold any more, so calibrate OUTPUT afterwards.
    """
    from diffusionad.images.image_io import find_images

    if output.exists():
        raise CannotRun(f"--output: `{output}` exists; name a new folder.")
    try:
        files = find_images(data)
    except (ValueError, OSError) as error:
        raise CannotRun(one_line(error)) from error
    pipeline = load_pipeline(model, device, dtype, {}, keep_calibration=False)
    from tqdm import tqdm

    from diffusionad.files import replacing
    from diffusionad.inspection.mark_learning import learn_marks

    pipeline.set_progress_bar_config(disable=True)
    try:
        with tqdm(total=len(files), unit="picture", disable=True if quiet else None, leave=False) as bar:
            added = learn_marks(pipeline, files, num_noise_samples, lambda _added: bar.update())
        output.parent.mkdir(parents=True, exist_ok=True)
        with replacing(output) as partial:
            pipeline.save_pretrained(partial)
    except (ValueError, RuntimeError, OSError) as error:
        raise CannotRun(one_line(error)) from error
    if not quiet:
        print(
            f"{added} marks of {len(files)} pictures learnt. In {output}; now calibrate it: "
            f"diffusionad calibrate GOOD --model {output}"
        )
    return 0
