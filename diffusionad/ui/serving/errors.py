"""Every failure becomes one sentence on the page; stack traces stay in the log."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import gradio as gr
import torch

logger = logging.getLogger(__name__)

SECONDS_SHOWN = 20

UNEXPECTED = "Something went wrong here, and not on your side; please try again."
PAGE_FAILED = "This did not work here; please try again, or reload the page."
FILE_GONE = "A file that this needs is no longer kept here; bring the picture again."


@contextmanager
def user_errors(server_name: object = "", shown_name: str = "") -> Iterator[None]:
    """Turn what is raised inside into a gr.Error of one sentence.

    Args:
        server_name: a path on the server, which means nothing to the user.
        shown_name: replaces it in the sentence.

    Raises:
        gr.Error: anything was raised.
    """
    try:
        yield
    except gr.Error:
        raise
    except Exception as error:
        # Decoders and downloads raise types that nobody has listed; the user still gets a sentence.
        message = _sentence(error)
        if message is None:
            logger.exception("Unexpected error")
            message = UNEXPECTED
        elif str(server_name):
            message = message.replace(str(server_name), shown_name)
        logger.info("Refused: %s", message)
        # The page takes a message for HTML, and it may quote a model or a file name. Programs and tables get
        # the same message as text, so no entity will do.
        message = message.replace("<", "\N{SINGLE LEFT-POINTING ANGLE QUOTATION MARK}")
        raise gr.Error(message, duration=SECONDS_SHOWN, print_exception=False) from error


@contextmanager
def unhandled_errors() -> Iterator[None]:
    """Turn what Gradio itself raises around an event into a gr.Error without file names of the server.

    Raises:
        gr.Error: anything but the end of a generator was raised.
    """
    try:
        yield
    except (gr.Error, StopAsyncIteration):
        raise
    except Exception as error:
        logger.exception("Unexpected error")
        is_gone = isinstance(error.__cause__ or error, FileNotFoundError)
        message = FILE_GONE if is_gone else PAGE_FAILED
        raise gr.Error(message, duration=SECONDS_SHOWN, print_exception=False) from error


def _sentence(error: Exception) -> str | None:
    """Return what to tell the user; None for a bug."""
    # On a CPU, torch's allocator raises a plain RuntimeError.
    is_full = isinstance(error, MemoryError | torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)
    if is_full:
        return "There is too little memory for this picture; shrink it first."
    match error:
        case ValueError() | OSError() | RuntimeError() if str(error):
            return " ".join(str(error).split())
    return None
