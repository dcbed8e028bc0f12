"""What a person at the terminal reads, once however many processes train."""

import os
import sys

RANK = os.environ.get("RANK", "0")  # among the processes that `accelerate launch` starts
IS_MAIN_PROCESS = RANK == "0"


def say(sentence: str) -> None:
    """Print a sentence in the main process alone."""
    if IS_MAIN_PROCESS:
        print(sentence, flush=True)


def complain(sentence: str) -> None:
    """Print to stderr what went wrong, in every process: the one that fails may fail alone."""
    print(sentence if IS_MAIN_PROCESS else f"[process {RANK}] {sentence}", file=sys.stderr, flush=True)
