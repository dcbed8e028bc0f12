"""A configured line: what a verdict sets off, in which order, and what a wrong file is told."""

import json
import urllib.request
from pathlib import Path

import pytest
from loopback_hub import free_port
from watch_script import Script, nothing

from diffusionad.cli.main import main
from diffusionad.inspection.monitoring import monitored
from diffusionad.inspection.results import Result
from diffusionad.line.config import MetricsServer, load_line
from diffusionad.line.metrics import Metrics
from diffusionad.line.sinks import Sink, UnreachableError
from diffusionad.line.spool import Spool
from diffusionad.line.watch import PATIENCE, WatchLog, watch
from diffusionad.postprocessing.calibration import calibrate
from diffusionad.postprocessing.drift import WINDOW, DriftMonitor
from diffusionad.postprocessing.verdict import Verdict


def away(message_id: str, message: bytes) -> None:
    raise UnreachableError("nobody is there")


def inspect(files):
    """Stands in for the networks: the word is in the file's name."""
    for file in files:
        broken = "error" in file.name
        verdict = None if broken else Verdict("defective" in file.name, 0.7, 0.5, p_value=0.01)
        yield Result(file, verdict, seconds=0.3, error="broken" if broken else None)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "incoming"
    folder.mkdir()
    for name in ("good.png", "defective.png", "error.png"):
        (folder / name).write_bytes(b"-")
    return folder


def test_a_message_is_on_the_disk_before_its_picture_counts_as_done(folder, tmp_path, capsys):
    sink = Sink("webhook", Spool(tmp_path / "spool"), away)
    log = WatchLog(tmp_path / "watched.jsonl")
    waiting_when_logged = []
    append = log.append

    def spy(line, file, stamp):
        spooled = [path.read_text() for path in (tmp_path / "spool").glob("*.json")]
        waiting_when_logged.append(line in spooled)
        append(line, file, stamp)

    log.append = spy
    watch(folder, log, inspect, Script([nothing] * (PATIENCE + 2)), sinks=[sink])
    sink.close()
    lines = capsys.readouterr().out.splitlines()
    assert waiting_when_logged == [True] * 3
    spooled = sorted((tmp_path / "spool").glob("*.json"))
    assert [path.read_text() for path in spooled] == lines
    assert [path.stem.partition("-")[2] for path in spooled] == [json.loads(line)["id"] for line in lines]


def test_a_picture_that_is_inspected_again_after_a_kill_has_the_same_id(folder, tmp_path, capsys):
    ids = []
    for log in ("lost.jsonl", "again.jsonl"):
        watch(folder, WatchLog(tmp_path / log), inspect, Script([nothing] * 2))
        ids.append(
            {(line := json.loads(x))["file"]: line["id"] for x in capsys.readouterr().out.splitlines()}
        )
    assert ids[0] == ids[1] and len(set(ids[0].values())) == 2


def test_metrics_count_verdicts_latency_queue_spool_and_drift(folder, tmp_path, capsys):
    monitor = DriftMonitor(calibrate([i / WINDOW for i in range(WINDOW)]))
    for i in range(WINDOW):
        monitor.add(i / WINDOW)
    metrics = Metrics(monitor)
    sink = Sink("webhook", Spool(tmp_path / "spool"), away, metrics)
    metrics.follow({"webhook": sink.spool})
    server = MetricsServer(port=free_port())
    end = metrics.serve(server)
    watch(
        folder,
        WatchLog(tmp_path / "watched.jsonl"),
        lambda files: monitored(inspect(files), monitor),
        Script([nothing] * (PATIENCE + 2)),
        sinks=[sink],
        metrics=metrics,
    )
    sink.close()
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics") as answer:
        page = answer.read().decode()
    end()
    values = dict(line.rsplit(" ", 1) for line in page.splitlines() if not line.startswith("#"))
    words = ("good", "defective", "error")
    assert [values[f'diffusionad_pictures_total{{verdict="{word}"}}'] for word in words] == ["1.0"] * 3
    assert values["diffusionad_latency_seconds_count"] == "3.0"
    assert values['diffusionad_inspection_seconds_bucket{le="0.2"}'] == "0.0"
    assert values['diffusionad_inspection_seconds_bucket{le="0.5"}'] == "3.0"
    assert values["diffusionad_queue_pictures"] == "0.0"
    assert values['diffusionad_spool_messages{sink="webhook"}'] == "3.0"
    assert float(values['diffusionad_deliveries_total{outcome="failed",sink="webhook"}']) >= 1
    assert 0.5 < float(values["diffusionad_drift_p_value"]) <= 1


LINE = """
[watch]
folder = "incoming"
model = "washer"
output = "report"
[settings]
threshold = 0.4
[webhook]
url = "https://mes.example/verdicts"
[mqtt]
host = "broker.example"
[metrics]
"""


def test_one_file_configures_a_line(tmp_path):
    (tmp_path / "line.toml").write_text(LINE)
    line = load_line(tmp_path / "line.toml", ("threshold",))
    assert (line.watch.model, line.settings, line.webhook.timeout_s) == ("washer", {"threshold": 0.4}, 10)
    assert (line.mqtt.port, line.metrics) == (1883, MetricsServer())


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (
            "[webhook]",
            "[webhok]",
            "`webhok` is no section of a config; use one of watch, settings, webhook, ",
        ),
        ("host =", "hots =", "`mqtt.hots` is unknown; use one of host, password_env, port, "),
        ("threshold =", "treshold =", "`settings.treshold` is unknown; use one of bit_depth, "),
        ('"https:', '"ftp:', "`webhook.url` is 'ftp://mes.example/verdicts'; give an http or https address."),
        ('"broker.example"', "7", "`mqtt.host` is 7; give a value of type str"),
        ("[metrics]", "[metrics]\nport = 0", "`metrics.port` is 0; give a number in 1..65535."),
        ("[watch]", "[watch]\ndtype = 'double'", "`watch.dtype` is 'double'; use one of float32, "),
        ("[mqtt]", "[mqtt]\ntopic = 'a/#'", "`mqtt.topic` is 'a/#'; give a topic without # and +."),
        ("[mqtt]", "[mqtt", "is not valid TOML"),
        ('folder = "incoming"', "", "FOLDER is missing; give it, or `folder` in the section [watch]"),
        ("[watch]", "[watch]\ninterval = 0", "--interval is 0; give a number of seconds above 0."),
    ],
)
def test_a_wrong_file_is_told_what_is_valid(old, new, sentence, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("incoming").mkdir()
    Path("line.toml").write_text(LINE.replace(old, new, 1))
    assert main(["watch", "--line", "line.toml"]) == 2
    [said] = capsys.readouterr().err.splitlines()
    assert said.startswith("diffusionad watch: ") and sentence in said
