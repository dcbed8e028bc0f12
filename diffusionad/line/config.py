"""The TOML file that configures a line: what is watched, and where verdicts go."""

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from diffusionad.typed_sections import check_names, check_table, read_section, read_toml


@dataclass(frozen=True)
class Watch:
    """Section [watch]; the command line overrides it.

    Attributes:
        folder: where pictures arrive.
        model: folder, id on the Hub, or name of an embedded model.
        output: folder for the log, the spools and the drawings.
        interval: seconds between looks, above 0.
        batch_size: pictures at a time on a GPU, at least 1.
        overlays: draw heat map and contours over each picture.
        panels: draw side-by-side pictures.
        device: auto, cpu, cuda or mps.
        dtype: number format of the networks.
    """

    folder: str | None = None
    model: str | None = None
    output: str | None = None
    interval: float = 1.0
    batch_size: int = 8
    overlays: bool = True
    panels: bool = False
    device: str = "auto"
    dtype: str = "float32"


@dataclass(frozen=True)
class Webhook:
    """Section [webhook]: every verdict is an HTTP POST.

    Attributes:
        url: of the receiver, http or https.
        token_env: environment variable that holds a bearer token; the file holds no secret.
        timeout_s: seconds to wait for an answer, above 0.
    """

    url: str = ""
    token_env: str | None = None
    timeout_s: float = 10.0


@dataclass(frozen=True)
class Mqtt:
    """Section [mqtt]: every verdict is a message of quality of service 1.

    Attributes:
        host: of the broker.
        port: of the broker, 1..65535.
        topic: without wildcards.
        tls: encrypt, and check the broker's certificate.
        username: at the broker.
        password_env: environment variable that holds the password.
        timeout_s: seconds to wait for the broker's answer, above 0.
    """

    host: str = ""
    port: int = 1883
    topic: str = "diffusionad/verdicts"
    tls: bool = False
    username: str | None = None
    password_env: str | None = None
    timeout_s: float = 10.0


@dataclass(frozen=True)
class MetricsServer:
    """Section [metrics]: a page that Prometheus reads.

    Attributes:
        port: 1..65535.
        address: that is listened on; the default is seen by this machine alone.
    """

    port: int = 9464
    address: str = "127.0.0.1"


@dataclass(frozen=True)
class LineConfig:
    """A line; a section that is None is off.

    Attributes:
        watch: what is watched, with which model.
        settings: of the model, as `DiffusionADPipeline.configure` takes them.
        webhook: HTTP receiver.
        mqtt: MQTT broker.
        metrics: page for Prometheus.
    """

    watch: Watch = field(default_factory=Watch)
    settings: dict[str, Any] = field(default_factory=dict)
    webhook: Webhook | None = None
    mqtt: Mqtt | None = None
    metrics: MetricsServer | None = None


DEVICES = ("auto", "cpu", "cuda", "mps")
DTYPES = ("float32", "bfloat16", "float16")

SECTIONS: dict[str, type] = {"watch": Watch, "webhook": Webhook, "mqtt": Mqtt, "metrics": MetricsServer}


def load_line(path: Path, settings: tuple[str, ...]) -> LineConfig:
    """Read a line's TOML file.

    Args:
        path: the file.
        settings: valid keys of its section [settings].

    Raises:
        ValueError: an unknown section or key, or a value out of range; the message says what is valid.
        OSError: the file cannot be read.
    """
    given = read_toml(path)
    check_names(given, [field.name for field in fields(LineConfig)])
    parts: dict[str, Any] = {
        name: read_section(name, kind, given[name]) for name, kind in SECTIONS.items() if name in given
    }
    overrides = given.get("settings", {})
    check_table("settings", overrides)
    for name in overrides:
        if name not in settings:
            raise ValueError(f"`settings.{name}` is unknown; use one of {', '.join(sorted(settings))}.")
    line = LineConfig(settings=overrides, **parts)
    _check(line)
    return line


def _check(line: LineConfig) -> None:
    for name, allowed in {"device": DEVICES, "dtype": DTYPES}.items():
        value = getattr(line.watch, name)
        if value not in allowed:
            raise ValueError(f"`watch.{name}` is {value!r}; use one of {', '.join(allowed)}.")
    if line.webhook is not None:
        url = urlsplit(line.webhook.url)
        if url.scheme not in ("http", "https") or not url.hostname:
            raise ValueError(f"`webhook.url` is {line.webhook.url!r}; give an http or https address.")
    if line.mqtt is not None:
        if not line.mqtt.host:
            raise ValueError("`mqtt.host` is missing; name the broker.")
        if not line.mqtt.topic or set(line.mqtt.topic) & set("#+"):
            raise ValueError(f"`mqtt.topic` is {line.mqtt.topic!r}; give a topic without # and +.")
    ports = {"mqtt": line.mqtt, "metrics": line.metrics}
    for name, part in ports.items():
        if part is not None and not 1 <= part.port <= 65535:
            raise ValueError(f"`{name}.port` is {part.port}; give a number in 1..65535.")
    timeouts = {"webhook": line.webhook, "mqtt": line.mqtt}
    for name, sink in timeouts.items():
        if sink is not None and not 0 < sink.timeout_s < float("inf"):
            raise ValueError(f"`{name}.timeout_s` is {sink.timeout_s:g}; give a number of seconds above 0.")
