"""Where verdicts go: an HTTP receiver, an MQTT broker. A message waits on the disk until it was taken.

Every message is delivered at least once, in order. Its id follows from the file and its time of change: a
receiver that has seen an id before has seen the message.
"""

import os
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffusionad.line.config import LineConfig, Mqtt, Webhook
from diffusionad.line.spool import Spool

if TYPE_CHECKING:
    from diffusionad.line.metrics import Metrics

BACK_OFF = 1.0  # seconds after the first failure; they double
MAX_BACK_OFF = 60.0

# Answers that say that this message will never be taken; all others may change with the receiver.
REFUSALS = (400, 413, 415, 422)


class UnreachableError(Exception):
    """The receiver did not take a message now, and may later."""


class RefusedError(Exception):
    """The receiver will never take this message."""


Send = Callable[[str, bytes], None]  # id and message; raises UnreachableError or RefusedError


class Sink:
    """Sends messages from a spool, in a thread of its own, for as long as it takes.

    Args:
        name: for messages on stderr and metrics.
        spool: where messages wait.
        send: hands one message over.
        metrics: counts deliveries; None does not.
        back_off: seconds to wait after a first failure.
    """

    def __init__(
        self,
        name: str,
        spool: Spool,
        send: Send,
        metrics: "Metrics | None" = None,
        back_off: float = BACK_OFF,
    ):
        self.name, self.spool = name, spool
        self._send, self._metrics, self._back_off = send, metrics, back_off
        self._news, self._closing = threading.Event(), threading.Event()
        self._is_away = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def put(self, message_id: str, message: bytes) -> None:
        """Write a message to the spool; it is on the disk when this returns."""
        self.spool.put(message_id, message)
        self._news.set()

    def close(self, timeout: float = 10.0) -> None:
        """Send what the receiver takes at once; the rest waits for the next start.

        Args:
            timeout: seconds to wait for the thread.
        """
        self._closing.set()
        self._news.set()
        self._thread.join(timeout)
        if len(self.spool):
            print(
                f"{len(self.spool)} messages to {self.name} wait in `{self.spool.folder}`; "
                "the next start sends them.",
                file=sys.stderr,
            )

    def _run(self) -> None:
        wait = self._back_off
        while True:
            self._news.clear()
            oldest = self.spool.oldest()
            if oldest is None:
                if self._closing.is_set():
                    return
                self._news.wait()
            elif self._deliver(*oldest):
                wait = self._back_off
            elif self._closing.is_set():
                return
            else:
                self._closing.wait(wait)
                wait = min(2 * wait, MAX_BACK_OFF)

    def _deliver(self, message_id: str, message: bytes) -> bool:
        """Send a message; say whether it is dealt with, and who did not take it."""
        try:
            self._send(message_id, message)
        except RefusedError as refusal:
            place = self.spool.set_aside(message_id)
            self._count("refused")
            print(f"{self.name}: {refusal}; the message is kept as `{place}`.", file=sys.stderr, flush=True)
        except UnreachableError as reason:
            self._count("failed")
            if not self._is_away:
                print(f"{self.name}: {reason}; messages wait on the disk.", file=sys.stderr, flush=True)
            self._is_away = True
            return False
        else:
            self.spool.remove(message_id)
            self._count("delivered")
        if self._is_away:
            print(f"{self.name}: back.", file=sys.stderr, flush=True)
        self._is_away = False
        return True

    def _count(self, outcome: str) -> None:
        if self._metrics is not None:
            self._metrics.count_delivery(self.name, outcome)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirected POST would arrive as a GET without its message, and count as delivered."""

    def redirect_request(self, *arguments: Any) -> None:
        return None


def webhook_sender(webhook: Webhook) -> Send:
    """Return a function that POSTs a message as JSON; any answer of 2xx is its receipt.

    Raises:
        ValueError: the token's variable is not set.
    """
    headers = {"Content-Type": "application/json", "User-Agent": "diffusionad"}
    if webhook.token_env is not None:
        headers["Authorization"] = f"Bearer {_secret('webhook.token_env', webhook.token_env)}"
    opener = urllib.request.build_opener(_NoRedirect)

    def send(message_id: str, message: bytes) -> None:
        request = urllib.request.Request(
            webhook.url, message, {**headers, "Idempotency-Key": message_id}, method="POST"
        )
        try:
            opener.open(request, timeout=webhook.timeout_s).close()
        except urllib.error.HTTPError as error:
            error.close()
            kind = RefusedError if error.code in REFUSALS else UnreachableError
            raise kind(f"{webhook.url} answers {error.code} {error.reason}") from error
        except (OSError, HTTPException) as error:
            raise UnreachableError(f"{webhook.url} does not answer ({error})") from error

    return send


def mqtt_sender(mqtt: Mqtt) -> Send:
    """Return a function that publishes a message with quality of service 1; the broker's receipt ends it.

    Raises:
        ModuleNotFoundError: paho-mqtt is not installed.
        ValueError: the password's variable is not set.
    """
    from paho.mqtt.client import Client
    from paho.mqtt.enums import CallbackAPIVersion

    client = Client(CallbackAPIVersion.VERSION2)
    if mqtt.username is not None:
        password = mqtt.password_env and _secret("mqtt.password_env", mqtt.password_env)
        client.username_pw_set(mqtt.username, password)
    if mqtt.tls:
        client.tls_set()
    client.connect_timeout = mqtt.timeout_s
    broker = f"{mqtt.host}:{mqtt.port}"
    connected = threading.Event()
    client.on_connect = lambda _client, _data, _flags, reason, _properties: (
        connected.clear() if reason.is_failure else connected.set()
    )
    client.on_disconnect = lambda *_: connected.clear()

    def send(message_id: str, message: bytes) -> None:
        try:
            if not client.is_connected():
                connected.clear()
                client.loop_stop()  # of an earlier connection; its thread would connect on its own, too
                client.connect(mqtt.host, mqtt.port)
                client.loop_start()
            if not connected.wait(mqtt.timeout_s):
                raise UnreachableError(f"{broker} accepts no connection")
            receipt = client.publish(mqtt.topic, message, qos=1)
            receipt.wait_for_publish(mqtt.timeout_s)
            is_published = receipt.is_published()
        except (OSError, RuntimeError, ValueError) as error:
            raise UnreachableError(f"{broker} cannot be reached ({error})") from error
        if not is_published:
            client.disconnect()
            raise UnreachableError(f"{broker} gives no receipt")

    return send


def _secret(option: str, variable: str) -> str:
    value = os.environ.get(variable)
    if not value:
        raise ValueError(f"`{option}` is {variable!r}, but this environment variable is not set.")
    return value


def open_sinks(line: LineConfig, output: Path, metrics: "Metrics | None") -> list[Sink]:
    """Return the sinks of a line, running; their spools lie in `output/spool`.

    Raises:
        ModuleNotFoundError: a package is not installed.
        ValueError: a secret is missing.
    """
    senders: dict[str, Send] = {}
    if line.webhook is not None:
        senders["webhook"] = webhook_sender(line.webhook)
    if line.mqtt is not None:
        senders["mqtt"] = mqtt_sender(line.mqtt)
    return [Sink(name, Spool(output / "spool" / name), send, metrics) for name, send in senders.items()]
