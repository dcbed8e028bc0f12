"""`diffusionad serve`: the screens in a browser."""

import signal

import click

from diffusionad.cli.options import CannotRun, announce, one_line


@click.command("serve")
@click.option(
    "--model",
    multiple=True,
    metavar="MODEL",
    help="Offer this beside the embedded models: a folder, a Hub id, or an organisation for all of its "
    "models. It may be given several times; without it, DIFFUSIONAD_MODELS is read (separated by commas).",
)
@click.option(
    "--host",
    help="Address to listen on; 0.0.0.0 is all (127.0.0.1). Host names that lead to it, such as a proxy's, "
    "are listed in DIFFUSIONAD_ALLOWED_HOSTS (separated by commas).",
)
@click.option("--port", type=int, help="Port to listen on (the first free one from 7860).")
def serve_command(model: tuple[str, ...], host: str | None, port: int | None) -> int:
    """Serve the screens until Ctrl-C; the address is printed."""
    announce("Starting the page ...")
    from diffusionad.loading.hub_models import find_models
    from diffusionad.ui import LAUNCH_OPTIONS, build_app

    try:
        models = [found for name in model for found in find_models(name)]
    except OSError as error:
        raise CannotRun(f"--model: {one_line(error)}") from error
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # temporary files go away then, too
    try:
        app = build_app(models or None).queue(max_size=64)
    except ValueError as error:
        raise CannotRun(one_line(error)) from error
    try:
        app.launch(server_name=host, server_port=port, **LAUNCH_OPTIONS)
    except OSError as error:
        raise CannotRun(f"--port: {one_line(error)}") from error
    except KeyboardInterrupt:
        app.close()
    return 0
