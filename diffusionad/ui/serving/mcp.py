"""Serve the endpoints as tools for language models (MCP), where that is asked for and possible."""

import logging
import os
from importlib.util import find_spec

logger = logging.getLogger(__name__)

MCP_VARIABLE = "GRADIO_MCP_SERVER"  # Gradio's own name for it


def is_mcp_enabled() -> bool:
    """Return whether `GRADIO_MCP_SERVER=True` is set and `mcp` installed; log what is missing."""
    if os.environ.get(MCP_VARIABLE, "").lower() != "true":
        return False
    if find_spec("mcp") is None:
        logger.warning(
            "%s is set, but `mcp` is not installed: `pip install 'diffusionad[mcp]'` does it.", MCP_VARIABLE
        )
        return False
    return True
