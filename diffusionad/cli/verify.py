"""`diffusionad verify`: results to the same results, or to why they are others now."""

from pathlib import Path

import click

from diffusionad.cli.model import load_pipeline
from diffusionad.cli.options import CannotRun, model_option, one_line

EXIT_DIFFERENT = 1

EPILOG = """\
\b
Examples:
  diffusionad verify report/results.json
  diffusionad verify report/watched.jsonl --model models/washer

\b
Exit status:
  0  every picture gives the same    1  some do not    2  it cannot be done; stderr says why
"""


@click.command("verify", epilog=EPILOG, context_settings={"max_content_width": 110})
@click.argument("results", type=click.Path(path_type=Path), metavar="RESULTS")
@model_option(required=False)
def verify_command(results: Path, model: str | None) -> int:
    """Inspect the pictures of RESULTS again, and say which verdicts differ, and why.

    RESULTS is a results.json or watched.jsonl. The model is the one that it names, with the settings that it
    carries. A verdict differs because its picture, the weights, the settings or the versions of packages
    changed, or because this machine computes other bits.
    """
    from diffusionad.inspection.verification import read_recorded, verify

    try:
        recorded = read_recorded(results)
        total = same = 0
        for part in recorded:
            head = part.head
            dtype = head["dtype"] if head["dtype"] in ("float32", "bfloat16", "float16") else "float32"
            pipeline = load_pipeline(model or head["model"], dtype=dtype)
            for picture in verify(part, pipeline):
                total += 1
                if picture.difference is None:
                    same += 1
                else:
                    print(f"{picture.file}: {picture.difference}: {'; '.join(picture.reasons)}", flush=True)
    except (ValueError, RuntimeError, OSError) as error:
        if isinstance(error, BrokenPipeError):
            raise
        raise CannotRun(one_line(error)) from error
    print(f"{same} of {total} verdicts are the same.")
    return 0 if same == total else EXIT_DIFFERENT
