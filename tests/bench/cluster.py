"""Figures of the watch beside those of DNS, on a real control plane: `python -m tests.bench.cluster`.

Root, Linux and the binary of tests/tools/cluster are needed; it takes some three minutes. Each figure
stands beside what was hoped for. With arguments, only those parts: latency, size, history, silence.
"""

from __future__ import annotations

import logging
import os
import platform
import sys

from tests.tools.cluster import Cluster

from . import _cluster_history, _cluster_latency, _cluster_silence, _cluster_size
from ._table import Row, show

TTL = 5
PARTS = {
    "latency": _cluster_latency,
    "size": _cluster_size,
    "history": _cluster_history,
    "silence": _cluster_silence,
}


def main() -> None:
    logging.disable()  # servers that go away are talked about
    print(
        f"Python {platform.python_version()}, {platform.machine()}, {platform.system()}, "
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}\n"
    )
    rows: list[Row] = []
    with Cluster.start(ttl=TTL) as cluster:
        for name in sys.argv[1:] or PARTS:
            for row in PARTS[name].figures(cluster):
                rows.append(row)
                print(".", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    show(Row("What", "Watch", f"DNS, TTL {TTL} s", "Hoped for"), rows)


if __name__ == "__main__":
    main()
