"""Refuse requests that a foreign web site sends to the app through the browser of somebody who may use it."""

import logging
import os
from collections.abc import Collection
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

HOSTS_VARIABLE = "DIFFUSIONAD_ALLOWED_HOSTS"  # host names, separated by commas; "*" is any
SERVER_VARIABLE = "GRADIO_SERVER_NAME"  # Gradio's own name for the address to listen on
SPACE_VARIABLE = "SPACE_ID"

FORBIDDEN = 403

logger = logging.getLogger(__name__)


def allowed_hosts() -> set[str]:
    """Return the host names in lower case that the operator lists; a Space allows everything."""
    if SPACE_VARIABLE in os.environ:
        return {"*"}  # behind the Hub's proxy, open to everybody and to pages that embed it
    listed = (name.strip().lower() for name in os.environ.get(HOSTS_VARIABLE, "").split(","))
    return {name for name in listed if name}


class AllowedHosts:
    """ASGI middleware: the app answers to its own names alone, and takes requests of its own pages alone.

    `Host` is checked, since a foreign site may let its own name lead to 127.0.0.1 (DNS rebinding). Addresses
    and `localhost` need no list: no foreign site can redirect them. `Origin`, which browsers send with what
    another page asks for, has to be the app itself, or a name on the list. Programs send none.

    Args:
        app: that answers what is allowed.
        listed: host names in lower case, without a port; "*" allows everything.
        server_name: that the app listens on; None reads `GRADIO_SERVER_NAME`.
    """

    def __init__(self, app: ASGIApp, listed: Collection[str], server_name: str | None = None):
        self._app = app
        self._listed = listed
        own = server_name or os.environ.get(SERVER_VARIABLE, "")
        self._names = {"localhost", own.lower(), *listed} - {""}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as the app does, or with one sentence and status 403."""
        complaint = self._complaint(Headers(scope=scope)) if scope["type"] in ("http", "websocket") else None
        if complaint is None:
            await self._app(scope, receive, send)
        else:
            logger.info("Refused: %s", complaint)
            await PlainTextResponse(complaint, FORBIDDEN)(scope, receive, send)

    def _complaint(self, headers: Headers) -> str | None:
        """Return why a request is refused, None where it is not."""
        if "*" in self._listed:
            return None
        host, origin = headers.get("host", "").lower(), headers.get("origin")
        name = _name(f"//{host}")
        if name not in self._names and not _is_address(name):
            return f"This app does not answer to the name `{name}`; {_remedy(name)}"
        if origin is None or origin.lower().partition("://")[2] == host or _name(origin) in self._listed:
            return None
        return f"This app takes no requests from pages of `{origin}`; {_remedy(_name(origin))}"


def _name(url: str) -> str:
    """Return the host name in a URL, in lower case; empty where there is none."""
    try:
        return (urlsplit(url).hostname or "").rstrip(".")
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _remedy(name: str) -> str:
    return f"to allow it, start the app with {HOSTS_VARIABLE}={name or 'NAME'}."
