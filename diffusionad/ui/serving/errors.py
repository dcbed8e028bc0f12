"""Every failure becomes one sentence in the page; stack traces stay in the log."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import gradio as gr
import torch

logger = logging.getLogger(__name__)

UNFORESEEN = "Something went wrong here, and not on your side; please try again."
GRADIOS = "This did not work here; please try again, or reload the page."
GONE = "A file that this needs is no longer kept here; bring the picture again."


@contextmanager
def in_one_sentence(server_name: object = "", shown_name: str = "") -> Iterator[None]:
    """Turn what is raised inside into a gr.Error of one sentence.

    `server_name`, a path that means nothing to the visitor, is shown as `shown_name`.
    """
    try:
        yield
    except gr.Error:
        raise
    except Exception as error:
        # Also decoders and downloads fail in ways that nobody listed: the visitor still gets a sentence.
        message = _sentence(error)
        if message is None:
            logger.exception("Unexpected error")
            message = UNFORESEEN
        elif str(server_name):
            message = message.replace(str(server_name), shown_name)
        logger.info("Refused: %s", message)
        raise gr.Error(message, duration=20, print_exception=False) from error


@contextmanager
def nothing_else_raised() -> Iterator[None]:
    """Around all of an event, where an error may come from Gradio and name files of the server's."""
    try:
        yield
    except (gr.Error, StopAsyncIteration):
        raise
    except Exception as error:
        logger.exception("Unexpected error")
        is_gone = isinstance(error.__cause__ or error, FileNotFoundError)
        message = GONE if is_gone else GRADIOS
        raise gr.Error(message, duration=20, print_exception=False) from error


def _sentence(error: Exception) -> str | None:
    """What to tell a visitor; None for a bug."""
    # On a CPU, torch's allocator raises no type of its own.
    is_full = isinstance(error, MemoryError | torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)
    if is_full:
        return "There is too little memory for this picture; shrink it first."
    match error:
        case ValueError() | OSError() | RuntimeError() if str(error):
            return " ".join(str(error).split())
    return None
