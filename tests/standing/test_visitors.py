"""Many visitors at once, some hostile, some leaving: verdicts or one sentence, and no memory is kept."""

import random
import threading
import time
from collections import Counter
from pathlib import Path

import httpx
import numpy as np
import pytest
from gradio_client import Client, handle_file
from PIL import Image
from standing.hostile_pictures import bomb
from standing.soak import report, times

VISITORS, SECONDS = times(4, 50), times(4, 600)
GROWTH = 1.1  # of the app's memory, after every kind of visitor has been there


def resident(pid: int) -> int:
    """Kilobytes of memory that a process holds."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmRSS")))


@pytest.fixture
def files(tmp_path: Path, make_pictures) -> dict[str, list[Path]]:
    good = [tmp_path / f"{i}.png" for i in range(4)]
    for path, side in zip(good, (64, 90, 200, 400), strict=True):
        Image.fromarray(make_pictures(1, side)[0]).save(path)
    bad = [tmp_path / name for name in ("bomb.png", "cut.png", "text.png", "narrow.png")]
    bad[0].write_bytes(bomb(20_000, 20_000))
    bad[1].write_bytes(good[0].read_bytes()[:300])
    bad[2].write_text("no picture")
    Image.fromarray(np.zeros((4, 900, 3), np.uint8)).save(bad[3])
    return {"good": good, "bad": bad}


class Visitors:
    """What visitors do, and what they are answered."""

    def __init__(self, url: str, files: dict[str, list[Path]]):
        self.url, self.files = url, files
        self.outcomes: Counter[str] = Counter()
        self.waits: list[float] = []
        self.wrong: list[str] = []

    def _ask(self, client: Client, path: Path, model: str, hostile: bool) -> None:
        started = time.monotonic()
        try:
            client.predict(handle_file(path), model, None, api_name="/inspect")
        except Exception as error:  # the client raises what the page would show
            said = str(error)
            polite = "busy" in said.lower() or "queue is full" in said.lower()
            self.outcomes["busy" if polite else "refused"] += 1
            if not polite and (not hostile or "Traceback" in said or "\n" in said.strip()):
                self.wrong.append(f"{path.name}, model {model}: {said}")
        else:
            self.outcomes["inspected"] += 1
            self.waits.append(time.monotonic() - started)
            if hostile:
                self.wrong.append(f"{path.name}, model {model}, was inspected")

    def visit(self, number: int, until: float) -> None:
        """Come as one of ten: six inspect, two are hostile, two leave in the middle."""
        rng, kind = random.Random(number), number % 10
        client = None
        while time.monotonic() < until:
            client = client or Client(self.url, verbose=False, download_files=False)
            if kind in (1, 6):
                model = rng.choice(["tiny", "../..", "/etc", "<b>", "nobody/here"])
                path = rng.choice(self.files["bad" if model == "tiny" else "good"])
                self._ask(client, path, model, hostile=True)
            elif kind in (2, 7):
                client.submit(handle_file(self.files["good"][-1]), "tiny", None, api_name="/inspect")
                self.outcomes["left"] += 1
                client = None  # and never asks for the answer
                time.sleep(rng.uniform(0.2, 1))
            else:
                self._ask(client, rng.choice(self.files["good"]), "tiny", hostile=False)

    def come(self, count: int, seconds: float) -> None:
        until = time.monotonic() + seconds
        threads = [threading.Thread(target=self.visit, args=(i, until)) for i in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="memory is read from /proc")
def test_visitors_get_a_verdict_or_a_sentence_and_the_app_keeps_no_memory(start_app, files):
    with start_app() as app:
        first = Visitors(app.url, files)
        first.come(max(4, VISITORS // 4), SECONDS / 4)  # all code paths, all caches
        before = resident(app.pid)
        visitors = Visitors(app.url, files)
        visitors.come(VISITORS, SECONDS)
        assert httpx.get(app.url).status_code == 200
        after = resident(app.pid)
    waits = sorted(visitors.waits)
    p50, p95 = (round(waits[int(len(waits) * q)], 2) for q in (0.5, 0.95))
    report(
        "visitors",
        visitors=VISITORS,
        seconds=SECONDS,
        **visitors.outcomes,
        p50_seconds=p50,
        p95_seconds=p95,
        memory_mb_before=before // 1024,
        memory_mb_after=after // 1024,
    )
    assert visitors.wrong == [] and first.wrong == []
    assert visitors.outcomes["inspected"] > 0 and visitors.outcomes["refused"] > 0
    assert after < GROWTH * before
