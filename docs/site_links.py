"""Links of the pages to files outside `docs/` lead to the repository: a hook of MkDocs."""

import re
from typing import Any

REPOSITORY = "https://github.com/diffusionad/diffusionad/blob/main/"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Return a page with `../FILE` as the address of FILE in the repository."""
    return re.sub(r"\]\(\.\./", f"]({REPOSITORY}", markdown)
