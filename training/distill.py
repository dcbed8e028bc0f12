"""Command `distill`: from a trained model to a small one that says the same in one pass.

    diffusionad distill runs/bolt --output runs/bolt-fast
    python -m training.distill diffusionad/assets/washer --data DATA/washer --output RUN

The run folder is that of a training, and its `pipeline/` is used, calibrated and published like any other.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from diffusionad.cli.options import data_option, output_option, run

from .config.options import Settings, settings_options
from .guarding import ResumableCommand, guarded


@click.command("distill", cls=ResumableCommand)
@click.argument("model", metavar="RUN", type=click.Path(path_type=Path, exists=True, file_okay=False))
@data_option("The pictures of the run. Default: where the run says they are.", required=False)
@output_option("Run folder of the student.")
@click.option("--resume", is_flag=True, help="Go on from the last checkpoint.")
@settings_options(preset=None)
def distill_command(model: Path, data: str | None, output: Path, resume: bool, settings: Settings) -> int:
    """Teach a small model what a trained one says, to say it in one pass.

    RUN is a finished run, or a folder with a pipeline and the config.toml of its training. The student learns
    from its good pictures and from synthetic defects on them, for 30 minutes unless told otherwise. Its
    metrics.json compares both.
    """

    def work() -> int:
        from .run_folder import check_unused, checkpoints, same_config
        from .trainer.student import student_config
        from .trainer.training import train

        config = student_config(model, data, settings)
        if resume and checkpoints(output):
            train(same_config(output, config), output, resume=True)
        else:
            check_unused(output)
            train(config, output)
        return 0

    return guarded(work, is_resumed=resume)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    return run(distill_command, arguments, "python -m training.distill")


if __name__ == "__main__":
    sys.exit(main())
