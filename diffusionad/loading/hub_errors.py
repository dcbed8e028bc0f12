"""What the Hub's client raises, in one sentence that says what to do."""

from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)


@contextmanager
def hub_errors(what: str) -> Iterator[None]:
    """Turn what the Hub's client raises into one sentence that names `what` and says what to do."""
    try:
        yield
    except GatedRepoError as error:
        raise PermissionError(
            f"{what} is gated: ask for access on its page on the Hub, then log in with `hf auth login` or "
            "give `token`."
        ) from error
    except RepositoryNotFoundError as error:
        raise FileNotFoundError(
            f"The Hub has no {what}, or it is private; check the name (org/name), and for a private one log "
            "in with `hf auth login` or give `token`."
        ) from error
    except RevisionNotFoundError as error:
        raise FileNotFoundError(
            f"{what} has no such revision; give a branch, a tag or a commit of it, or leave `revision` out."
        ) from error
    except LocalEntryNotFoundError as error:
        reason = "`local_files_only` is set"
        if isinstance(error.__cause__, OfflineModeIsEnabled):
            reason = "HF_HUB_OFFLINE is set"
        elif error.__cause__ is not None:
            reason = first_line(error.__cause__)
        raise FileNotFoundError(
            f"The Hub cannot be reached ({reason}), and {what} is not, or not wholly, in the local cache; "
            "load it once while the Hub can be reached."
        ) from error
    except EntryNotFoundError as error:
        raise FileNotFoundError(f"{what} lacks a file ({first_line(error)}).") from error
    except (HTTPError, OSError) as error:
        raise OSError(
            f"The Hub did not deliver {what} ({first_line(error)}); try again, what has arrived is kept."
        ) from error


def first_line(error: BaseException) -> str:
    """The gist of an error; the Hub's client appends paragraphs to its messages."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(error).__name__
