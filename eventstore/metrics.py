"""Metrics of an open store for Prometheus; needs the extra `metrics` (prometheus-client).

    from prometheus_client import REGISTRY, start_http_server
    REGISTRY.register(StoreCollector(store, "node"))
    start_http_server(9000, addr="127.0.0.1")

They are made of `stats()` when they are asked for, so a commit costs nothing more. A store that is
closed has none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.registry import Collector

from eventstore.errors import StoreClosedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from prometheus_client.core import Metric

PREFIX = "snapledger_"

GAUGES = {
    "revision": "newest batch in the log of this handle",
    "durable_revision": "newest batch that readers see",
    "oldest_revision": "first batch that is kept",
    "checkpoint_revision": "of the newest checkpoint of this handle",
    "segment_count": "segments of the log",
    "segment_bytes": "their sizes",
    "archive_count": "superseded segments that are kept",
    "archive_bytes": "their sizes",
    "checkpoint_count": "checkpoints",
    "checkpoint_bytes": "their sizes",
    "spare_ready": "whether the next segment can be taken with the reserve left",
    "recovery_seconds": "that the open took",
    "recovery_batches": "that the open replayed",
    "rebuilt_projections": "that the open folded anew",
}
FAILURES = {
    "failed": "whether the handle acknowledges nothing more",
    "background_error": "whether background maintenance has failed last",
    "prepare_error": "whether no next segment could be made",
}
HISTOGRAMS = {
    "group_sizes": ("commit_group_size", "commits that shared a sync; the sum is that of commits"),
    "sync_seconds": ("sync_seconds", "write and sync of a group of commits"),
    "lock_wait_seconds": ("lock_wait_seconds", "waits for the writer lock"),
    "checkpoint_seconds": ("checkpoint_seconds", "checkpoints"),
}


class WithStats(Protocol):
    """An `EventStore`, or a store around one."""

    def stats(self) -> Mapping[str, Any]:
        """Return what `EventStore.stats` returns."""


class StoreCollector(Collector):
    """Gives Prometheus what `stats()` of a store says."""

    def __init__(self, store: WithStats, name: str) -> None:
        """Collect of one store.

        Args:
            store: that is asked.
            name: that tells it from others, in the label `store`.
        """
        self._store = store
        self._name = name

    def describe(self) -> Iterable[Metric]:
        """Return no description: so a registry asks for nothing when this is registered."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics as they are now."""
        try:
            stats = self._store.stats()
        except StoreClosedError:
            return
        for key, text in GAUGES.items():
            if stats.get(key) is not None:
                yield self._gauge(key, text, float(stats[key]))
        for key, text in FAILURES.items():
            if key in stats:
                yield self._gauge(key, text, float(stats[key] is not None))
        rows = GaugeMetricFamily(f"{PREFIX}rows", "rows by table", labels=["store", "table"])
        for table, count in stats["rows"].items():
            rows.add_metric([self._name, table], count)
        yield rows
        if "appended_bytes" in stats:
            appended = CounterMetricFamily(
                f"{PREFIX}appended_bytes", "of records", labels=["store"]
            )
            appended.add_metric([self._name], stats["appended_bytes"])
            yield appended
        for key, (name, text) in HISTOGRAMS.items():
            if key in stats:
                yield self._histogram(name, text, stats[key])

    def _gauge(self, key: str, text: str, value: float) -> Metric:
        family = GaugeMetricFamily(f"{PREFIX}{key}", text, labels=["store"])
        family.add_metric([self._name], value)
        return family

    def _histogram(self, name: str, text: str, counted: Mapping[str, Any]) -> Metric:
        family = HistogramMetricFamily(f"{PREFIX}{name}", text, labels=["store"])
        buckets, count = [], 0
        for bound, more in counted["below"].items():
            count += more
            # Prometheus counts what is no larger: of whole numbers below 4, up to 3.
            most = bound - 1 if name == "commit_group_size" else bound
            buckets.append((f"{most:g}", float(count)))
        buckets.append(("+Inf", float(counted["count"])))
        family.add_metric([self._name], buckets, counted["total"])
        return family
