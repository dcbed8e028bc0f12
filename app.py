"""Entry of the Hugging Face Space and of `make demo`: build the screens, queue, launch.

GRADIO_SERVER_NAME, GRADIO_SERVER_PORT: where to listen (127.0.0.1 and the first free port from 7860).
DIFFUSIONAD_MODELS: more models to offer, separated by commas: folders, Hub ids, organisations on the Hub.
"""

import logging

from diffusionad.ui import LAUNCH_OPTIONS, build_app


def main() -> None:
    """Serve until interrupted; Gradio prints the address."""
    logging.basicConfig(format="%(asctime)s %(name)s: %(message)s")
    logging.getLogger("diffusionad").setLevel(logging.INFO)
    app = build_app().queue(max_size=64)
    app.launch(**LAUNCH_OPTIONS)


if __name__ == "__main__":
    main()
