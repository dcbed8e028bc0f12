"""Messages to a receiver: none is lost while it is away, over a restart, or when it answers oddly."""

import json
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from loopback_hub import free_port

from diffusionad.line.config import Mqtt, Webhook
from diffusionad.line.sinks import RefusedError, Sink, UnreachableError, mqtt_sender, webhook_sender
from diffusionad.line.spool import Spool


def wait_until(condition: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "not within the time"
        time.sleep(0.005)


class Receiver:
    """An HTTP server that answers with the next of `answers`, or 200, and keeps what it accepted."""

    def __init__(self, port: int = 0):
        self.accepted: list[tuple[str, dict]] = []
        self.answers: list[int] = []
        self.authorization: set[str | None] = set()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                status = receiver.answers.pop(0) if receiver.answers else 200
                receiver.authorization.add(self.headers["Authorization"])
                if status == 200:
                    receiver.accepted.append((self.headers["Idempotency-Key"], message))
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", "/")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def do_GET(self):  # where a redirect that is followed would end
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def webhook(self, **options) -> Webhook:
        return Webhook(url=f"http://127.0.0.1:{self.port}/verdicts", timeout_s=5, **options)

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


def test_messages_wait_for_a_receiver_that_is_away_also_over_a_restart(tmp_path, capsys):
    port = free_port()
    send = webhook_sender(Webhook(url=f"http://127.0.0.1:{port}/", timeout_s=5))
    first = Sink("webhook", Spool(tmp_path), send, back_off=0.01)
    for i in range(3):
        first.put(f"id{i}", json.dumps({"picture": i}).encode())
    first.close()
    assert len(list(tmp_path.glob("*.json"))) == 3
    assert capsys.readouterr().err.count("messages wait on the disk") == 1  # not at every attempt

    second = Sink("webhook", Spool(tmp_path), send, back_off=0.01)
    second.put("id3", b'{"picture": 3}')
    receiver = Receiver(port)
    wait_until(lambda: len(second.spool) == 0)
    second.close()
    receiver.close()
    assert receiver.accepted == [(f"id{i}", {"picture": i}) for i in range(4)]
    assert list(tmp_path.glob("*.json")) == []


def test_a_message_is_sent_again_until_it_is_accepted_and_a_redirect_is_no_receipt(receiver, tmp_path):
    receiver.answers = [500, 302, 429, 404]
    sink = Sink("webhook", Spool(tmp_path), webhook_sender(receiver.webhook()), back_off=0.01)
    sink.put("a", b"{}")
    wait_until(lambda: len(sink.spool) == 0)
    sink.close()
    assert receiver.accepted == [("a", {})] and receiver.answers == []


def test_a_refused_message_is_set_aside_and_stops_no_other(receiver, tmp_path, capsys):
    receiver.answers = [422]
    sink = Sink("webhook", Spool(tmp_path), webhook_sender(receiver.webhook()))
    sink.put("bad", b'"bad"')
    sink.put("good", b'"good"')
    wait_until(lambda: len(sink.spool) == 0)
    sink.close()
    assert receiver.accepted == [("good", "good")]
    [kept] = (tmp_path / "refused").iterdir()
    assert kept.read_bytes() == b'"bad"' and "answers 422" in capsys.readouterr().err


def test_the_token_comes_from_the_environment(receiver, monkeypatch):
    monkeypatch.setenv("LINE_TOKEN", "secret")
    webhook_sender(receiver.webhook(token_env="LINE_TOKEN"))("a", b"{}")
    assert receiver.authorization == {"Bearer secret"}
    monkeypatch.delenv("LINE_TOKEN")
    with pytest.raises(ValueError, match=r"`webhook\.token_env` is 'LINE_TOKEN', but this environment"):
        webhook_sender(receiver.webhook(token_env="LINE_TOKEN"))


def test_a_spool_keeps_its_order_over_restarts_and_takes_an_id_once(tmp_path):
    for names in ("ab", "bc"):
        spool = Spool(tmp_path)
        for name in names:
            spool.put(name, name.encode())
    (tmp_path / ".000000000009-d.json.partial").write_bytes(b"half")  # a kill while it was written
    spool, taken = Spool(tmp_path), []
    while oldest := spool.oldest():
        taken.append(oldest)
        spool.remove(oldest[0])
    assert taken == [(name, name.encode()) for name in "abc"]


def test_a_receiver_that_hangs_is_given_up_for_now():
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        with pytest.raises(UnreachableError, match="does not answer"):
            webhook_sender(Webhook(url=url, timeout_s=0.05))("a", b"{}")


class Broker:
    """Debian's mosquitto, which remembers sessions over a restart."""

    def __init__(self, program: str, folder: Path):
        self.port, self._program, self._settings = free_port(), program, folder / "mosquitto.conf"
        self._settings.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous true\nuser root\n"
            f"persistence true\npersistence_location {folder}/\n"
        )

    def start(self) -> None:
        command = [self._program, "-c", str(self._settings)]
        self._process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    program = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin")
    if program is None:
        pytest.skip("mosquitto is not installed (Debian: apt-get install mosquitto)")
    pytest.importorskip("paho.mqtt.client", reason="the extra `line` is not installed")
    broker = Broker(program, tmp_path)
    broker.start()
    yield broker
    broker.stop()


def test_a_subscriber_hears_every_message_though_the_broker_was_away(broker, tmp_path):
    from paho.mqtt.client import Client
    from paho.mqtt.enums import CallbackAPIVersion

    heard: list[int] = []
    subscribed = threading.Event()
    listener = Client(CallbackAPIVersion.VERSION2, "listener", clean_session=False)
    listener.reconnect_delay_set(0.05, 0.05)
    listener.on_connect = lambda client, *_: client.subscribe("line/1", qos=1)
    listener.on_subscribe = lambda *_: subscribed.set()
    listener.on_message = lambda _client, _data, message: heard.append(json.loads(message.payload))
    mqtt = Mqtt(host="127.0.0.1", port=broker.port, topic="line/1", timeout_s=5)
    sink = Sink("mqtt", Spool(tmp_path / "spool"), mqtt_sender(mqtt), back_off=0.01)
    listener.connect_async("127.0.0.1", broker.port)
    listener.loop_start()
    wait_until(subscribed.is_set)

    sink.put("before", b"0")
    wait_until(lambda: len(sink.spool) == 0)
    broker.stop()
    sink.put("away", b"1")
    wait_until(lambda: sink._is_away)
    broker.start()
    sink.put("back", b"2")
    wait_until(lambda: {0, 1, 2} <= set(heard))
    sink.close()
    listener.disconnect()
    listener.loop_stop()
    assert list(dict.fromkeys(heard)) == [0, 1, 2]  # at least once each, in order


def test_refusals_are_told_from_absence(receiver):
    send = webhook_sender(receiver.webhook())
    receiver.answers = [400, 503]
    with pytest.raises(RefusedError, match="answers 400"):
        send("a", b"{}")
    with pytest.raises(UnreachableError, match="answers 503"):
        send("a", b"{}")
