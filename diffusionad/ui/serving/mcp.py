"""Whether the app is an MCP server, too: its endpoints as tools for language models."""

import logging
import os
from importlib.util import find_spec

logger = logging.getLogger(__name__)

VARIABLE = "GRADIO_MCP_SERVER"  # Gradio's own name for it


def offers_tools() -> bool:
    """Asked for by `GRADIO_MCP_SERVER=True`, and possible; asked for in vain, it says what is missing."""
    if os.environ.get(VARIABLE, "").lower() != "true":
        return False
    if find_spec("mcp") is None:
        logger.warning(
            "%s is set, but `mcp` is not installed: `pip install 'diffusionad[mcp]'` does it.", VARIABLE
        )
        return False
    return True
