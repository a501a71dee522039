"""Requests through rolling restarts of pods that end abruptly, client beside client.

    python -m tests.bench.rolls                                     all clients: some ten minutes
    python -m tests.bench.rolls k8s --requests 100000 --rolls 10    one, for long
    python -m tests.bench.rolls httpx --rolls 0                     is this machine fast enough?

On a real control plane. One client at a time, each in a process of its own and with pods of its own: an open
loop, half GETs and half POSTs with an Idempotency-Key, five seconds for each. The pods are processes that are
gone at SIGTERM; what they were sent is written down outside of them. It needs what the tests of the cluster
need, and for some clients HAProxy; `--plot` needs the dependency group `bench`.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sys
from pathlib import Path

from tests.cluster import Cluster, Unavailable

from ._rolls_figures import HEAD, line, lost, sent_once
from ._rolls_plot import available, plot
from ._rolls_run import CLIENTS, Plan, Run, run
from ._table import show


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.rolls")
    parser.add_argument("clients", metavar="CLIENT", nargs="*", help=", ".join(CLIENTS))
    parser.add_argument("--requests", type=int, default=30_000, help="at least, for each client")
    parser.add_argument("--rate", type=float, default=500.0, help="a second")
    parser.add_argument("--rolls", type=int, default=2)
    parser.add_argument("--ttl", type=int, default=5, help="of the DNS, in seconds")
    parser.add_argument("--plot", type=Path, help="a PNG of success and shares over time")
    options = parser.parse_args()
    if unknown := set(options.clients) - set(CLIENTS):  # argparse takes no `choices` for none at all
        parser.error(f"no such client: {', '.join(sorted(unknown))}; there are {', '.join(CLIENTS)}")
    if options.plot and not available():
        parser.error("--plot needs matplotlib: pip install --group bench")
    clients = options.clients or list(CLIENTS)
    if shutil.which("haproxy") is None and (out := [one for one in clients if one.startswith("haproxy")]):
        print(f"no haproxy here (apt-get install haproxy): {', '.join(out)} left out", file=sys.stderr)
        clients = [one for one in clients if one not in out]
    plan = Plan(options.requests, options.rate, options.rolls, options.ttl)
    runs: list[Run] = []
    print(
        f"Python {platform.python_version()}, {platform.machine()}, {platform.system()}, "
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; "
        f"{plan.rate:g} a second, {plan.rolls} rolls, TTL {plan.ttl} s\n"
    )
    try:
        with Cluster.start(ttl=plan.ttl) as cluster:
            for client in clients:
                _try(cluster, client, plan, runs)
    except Unavailable as error:
        sys.exit(str(error))
    show(HEAD, map(line, runs))
    if options.plot and runs:
        plot(runs, options.plot)


def _try(cluster: Cluster, client: str, plan: Plan, runs: list[Run]) -> None:
    """A client that does not get through is said, and the others have their turn."""
    try:
        done = run(cluster, client, plan)
    except (RuntimeError, TimeoutError) as error:
        print(error, file=sys.stderr)
        return
    print(
        f"{client}: {done.load.told()}; {done.busy:.0%} of a processor, load {os.getloadavg()[0]:.1f}; "
        f"sent once and executed more often: {sent_once(done)}; answered and not written down: {lost(done)}",
        file=sys.stderr,
    )
    for one in done.load.failed[:5]:
        print(f"  at {one.intended:.1f} s: {one.error}", file=sys.stderr)
    runs.append(done)


if __name__ == "__main__":
    main()
