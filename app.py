"""Entry of the Hugging Face Space and of `make demo`: build the screens, queue, launch.

    python app.py [MODEL ...]

MODEL: folder, Hub id, or organisation on the Hub, to offer beside the embedded models.
DIFFUSIONAD_MODELS: the same, separated by commas, for when no MODEL is given.
DIFFUSIONAD_ALLOWED_HOSTS: host names that lead here, such as a proxy's, separated by commas.
GRADIO_SERVER_NAME, GRADIO_SERVER_PORT: where to listen (127.0.0.1 and the first free port from 7860).
"""

import argparse
import logging
import signal


def main() -> None:
    """Serve until interrupted; Gradio prints the address."""
    parser = argparse.ArgumentParser(
        description=__doc__, usage=argparse.SUPPRESS, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="*", metavar="MODEL")
    models = parser.parse_args().models
    from diffusionad.ui import LAUNCH_OPTIONS, build_app  # after --help has been answered

    logging.basicConfig(format="%(asctime)s %(name)s: %(message)s")
    logging.getLogger("diffusionad").setLevel(logging.INFO)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that temporary files are removed
    app = build_app(models or None).queue(max_size=64)
    app.launch(**LAUNCH_OPTIONS)


if __name__ == "__main__":
    main()
