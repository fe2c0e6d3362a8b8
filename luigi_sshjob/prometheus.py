"""A collector for luigid that exposes what jobs have used to Prometheus, see docs/metrics.rst.

Only luigid imports it; it needs the extra `prometheus`.
"""

from __future__ import annotations

import math
from typing import Any

from luigi.contrib.prometheus_metric import PrometheusMetricsCollector
from prometheus_client import Counter, Histogram

_OUTCOMES = ("succeeded", "failed", "killed", "timed_out", "cancelled", "lost")
_SECONDS = (1, 10, 60, 300, 900, 3600, 4 * 3600, 12 * 3600, 86400, 3 * 86400, 7 * 86400)
_BYTES = tuple(1 << power for power in range(24, 42, 2))  # 16 MiB to 1 TiB


class JobMetricsCollector(PrometheusMetricsCollector):
    """Luigi's metrics, and those of jobs with the same labels.

    `jobs_total` also has the outcome of the job as a label.
    """

    def __init__(self) -> None:
        super().__init__()
        outcome = list(dict.fromkeys([*self.labels, "outcome"]))
        self._jobs = Counter("luigi_sshjob_jobs_total", "number of ended jobs", outcome, registry=self.registry)
        self._counters = {
            "cpu_seconds": self._counter("cpu_seconds_total", "CPU time of ended jobs in seconds"),
            "log_bytes": self._counter("log_bytes_total", "size of the logs of ended jobs in bytes"),
        }
        self._histograms = {
            "queue_seconds": self._histogram("queue_seconds", "time in the queue in seconds", _SECONDS),
            "run_seconds": self._histogram("run_seconds", "run time of ended jobs in seconds", _SECONDS),
            "peak_memory_bytes": self._histogram(
                "peak_memory_bytes", "memory of the largest process of ended jobs in bytes", _BYTES
            ),
        }

    def handle_task_statistics(self, task: Any, statistics: dict[str, Any]) -> None:
        """Counts a job that has ended. Statistics that a task has reported itself are not those of a job."""
        if statistics.get("outcome") not in _OUTCOMES or "job" not in statistics:
            return
        labels = self._generate_task_labels(task)
        self._jobs.labels(**{**labels, "outcome": statistics["outcome"]}).inc()
        for name, counter in self._counters.items():
            if _is_amount(statistics.get(name)):
                counter.labels(**labels).inc(statistics[name])
        for name, histogram in self._histograms.items():
            if _is_amount(statistics.get(name)):
                histogram.labels(**labels).observe(statistics[name])

    def _counter(self, name: str, description: str) -> Counter:
        return Counter(f"luigi_sshjob_job_{name}", description, self.labels, registry=self.registry)

    def _histogram(self, name: str, description: str, buckets: tuple[int, ...]) -> Histogram:
        return Histogram(f"luigi_sshjob_job_{name}", description, self.labels, registry=self.registry, buckets=buckets)


def _is_amount(value: Any) -> bool:
    # luigid has no authentication: anybody may send statistics
    return isinstance(value, (int, float)) and math.isfinite(value) and value >= 0
