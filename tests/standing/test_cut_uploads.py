"""Wherever a push breaks off, nobody sees half a model, and the same command completes it."""

import random
import socket
import time

from loopback_hub import Fault, LoopbackHub
from standing.soak import report, times

from hub.push_model import main as push_model

CUTS = times(short=3, long=40)


def push(run) -> int:
    known = [
        "--project-url",
        "https://github.com/org/project",
        "--dataset",
        "Noise",
        "--license",
        "cc-by-4.0",
    ]
    return push_model(["--run", str(run), "--repo-id", "org/model", *known])


def shown(hub: LoopbackHub) -> set[str]:
    if ("models", "org/model") not in hub.repos:
        return set()
    return set(hub.model("org/model").files) - {".gitattributes"}


def empty(hub: LoopbackHub) -> None:
    for what in (hub.repos, hub.stored, hub.requests, hub.faults):
        what.clear()


def wait_until_back(hub: LoopbackHub) -> None:
    for _ in range(300):
        try:
            socket.create_connection(("127.0.0.1", hub.port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise AssertionError("the Hub has not come back in half a minute")


def test_a_push_that_is_cut_at_any_request_completes_on_a_second_try(hub, run, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_alice")
    rng, cut = random.Random(0), 0
    assert push(run) == 0
    whole, requests = shown(hub), len(hub.requests)
    assert "README.md" in whole and requests > 5
    for number in range(CUTS):
        empty(hub)
        answer = ("drop", "die", 500)[number % 3]
        # The client tries some requests again; a Hub that has died is away once.
        tries = 1 if answer == "die" else 2
        hub.faults.append(Fault(".", answer, tries, after=rng.randrange(requests)))
        cut += push(run) != 0
        seen = shown(hub)
        assert "README.md" not in seen or seen == whole, f"half a model after cut {number}: {seen}"
        hub.faults.clear()
        wait_until_back(hub)
        assert push(run) == 0, f"cut {number}"
        assert shown(hub) == whole
    report("cut uploads", cuts=CUTS, broken_off=cut, half_a_model=0, completed=CUTS)
