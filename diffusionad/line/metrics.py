"""Counters of a line, on a page that Prometheus reads."""

import time
from collections.abc import Callable, Mapping, Sized

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from diffusionad.inspection.results import Result
from diffusionad.line.config import MetricsServer
from diffusionad.postprocessing.drift import DriftMonitor

SECONDS = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300)  # bounds of the histograms


class Metrics:
    """What a line counts.

    Args:
        monitor: of the drift; None without a calibration.
    """

    def __init__(self, monitor: DriftMonitor | None):
        self.registry = CollectorRegistry()
        self._monitor = monitor
        registry = self.registry
        self._verdicts = Counter(
            "diffusionad_pictures", "Pictures by verdict.", ["verdict"], registry=registry
        )
        self._inspection = Histogram(
            "diffusionad_inspection_seconds",
            "Networks and scoring of a picture.",
            buckets=SECONDS,
            registry=registry,
        )
        self._latency = Histogram(
            "diffusionad_latency_seconds",
            "From the last change of a picture's file to its verdict.",
            buckets=SECONDS,
            registry=registry,
        )
        self._queue = Gauge(
            "diffusionad_queue_pictures", "Finished files that wait for a verdict.", registry=registry
        )
        self._drift = Gauge(
            "diffusionad_drift_p_value",
            "That recent scores are drawn like the calibration's; NaN while they are too few.",
            registry=registry,
        )
        self._drift.set(float("nan"))
        self._spooled = Gauge(
            "diffusionad_spool_messages", "Messages that wait for a receiver.", ["sink"], registry=registry
        )
        self._deliveries = Counter(
            "diffusionad_deliveries", "Attempts to deliver a message.", ["sink", "outcome"], registry=registry
        )

    def count(self, result: Result, mtime_ns: int) -> None:
        """Count a picture that has been dealt with.

        Args:
            result: of the picture.
            mtime_ns: last change of its file, nanoseconds since 1970.
        """
        self._verdicts.labels(result.word).inc()
        self._latency.observe(max(0.0, time.time() - mtime_ns / 1e9))
        if result.seconds is not None:
            self._inspection.observe(result.seconds)
        p_value = None if self._monitor is None else self._monitor.p_value()
        if p_value is not None:
            self._drift.set(p_value)

    def set_queue(self, pictures: int) -> None:
        """Say how many finished files wait for a verdict."""
        self._queue.set(pictures)

    def count_delivery(self, sink: str, outcome: str) -> None:
        """Count an attempt to deliver: delivered, failed or refused."""
        self._deliveries.labels(sink, outcome).inc()

    def follow(self, spools: Mapping[str, Sized]) -> None:
        """Show how many messages wait in each spool, by the name of its sink."""
        for sink, spool in spools.items():
            self._spooled.labels(sink).set_function(spool.__len__)

    def serve(self, server: MetricsServer) -> Callable[[], None]:
        """Serve the page in a thread of its own; return what ends it.

        Raises:
            OSError: the port is taken.
        """
        try:
            page, _ = start_http_server(server.port, server.address, self.registry)
        except OSError as error:
            raise OSError(
                f"`metrics` cannot be served at {server.address}:{server.port} ({error.strerror or error}); "
                "give another port."
            ) from error

        def end() -> None:
            page.shutdown()
            page.server_close()

        return end
