"""Requests through rolling restarts of pods that end abruptly, client beside client.

    python -m tests.bench.restarts                                   all clients: some ten minutes
    python -m tests.bench.restarts --requests 100000 --restarts 10   all, for long
    python -m tests.bench.restarts --ready 0                         restarts shorter than the TTL, for all
    python -m tests.bench.restarts httpx --restarts 0                is this machine fast enough?
    python -m tests.bench.restarts --from FILE --plot restarts.png   what `--save FILE` kept, once more

On a real control plane. One client at a time, each in a process of its own and with pods of its own: an open
loop, half GETs and half POSTs with an Idempotency-Key, five seconds for each. The pods are processes that are
gone at SIGTERM; what they were sent is written down outside of them. It needs what the tests of the cluster
need, and for some clients HAProxy; `--plot` needs the dependency group `bench`.

Each client's line is printed, saved and drawn as soon as it is through, and all of them at the end, as one
table. A client that did not get through has a line that says so, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import traceback
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from tests.tools.cluster import Cluster, Unavailable

from ._restarts_figures import HEAD, Line, line, lost, nothing, sent_once
from ._restarts_plot import available, plot
from ._restarts_run import CLIENTS, Plan, Run, run
from ._restarts_saved import save, saved
from ._table import show


def main() -> None:
    options, plan = _options()
    if options.read:
        runs = [one for one in saved(options.read) if one.client in options.clients]
        show(HEAD, map(line, runs))
        if options.plot:
            plot(runs, options.plot)
        return
    print(f"{_environment()}\n{plan}\n", flush=True)
    lines: list[Line] = []
    runs = []
    try:
        with Cluster.start(ttl=plan.ttl) as cluster:
            _print(HEAD)
            _print(["-"] * len(HEAD))
            for client in options.clients:
                if done := _try(cluster, client, plan):
                    runs.append(done)
                    if options.save:
                        save(done, options.save)
                    if options.plot:
                        plot(runs, options.plot)
                lines.append(line(done) if done else nothing(client))
                _print(lines[-1])
    except Unavailable as error:
        sys.exit(str(error))
    finally:
        print()
        show(HEAD, lines)
    sys.exit(len(runs) < len(options.clients))


def _options() -> tuple[argparse.Namespace, Plan]:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.restarts")
    parser.add_argument("clients", metavar="CLIENT", nargs="*", help=", ".join(CLIENTS))
    parser.add_argument("--requests", type=int, default=30_000, help="at least, for each client")
    parser.add_argument("--rate", type=float, default=500.0, help="a second")
    parser.add_argument("--restarts", type=int, default=2)
    parser.add_argument("--ttl", type=int, default=5, help="of the DNS, in seconds")
    parser.add_argument("--ready", type=int, help="minReadySeconds; without it the TTL + 3, and 0 for k8s")
    parser.add_argument("--plot", type=Path, help="a PNG of success and shares over time")
    parser.add_argument("--save", type=Path, help="each request of each client is added to this file")
    parser.add_argument("--from", type=Path, dest="read", help="run no client: print and draw what was saved")
    options = parser.parse_args()
    if unknown := set(options.clients) - set(CLIENTS):  # argparse takes no `choices` for none at all
        parser.error(f"no such client: {', '.join(sorted(unknown))}; there are {', '.join(CLIENTS)}")
    if options.plot and not available():
        parser.error("--plot needs matplotlib: pip install --group bench")
    options.clients = options.clients or list(CLIENTS)
    proxied = [one for one in options.clients if one.startswith("haproxy")]
    if proxied and not options.read and shutil.which("haproxy") is None:
        print(f"no haproxy here (apt-get install haproxy): {', '.join(proxied)} left out", file=sys.stderr)
        options.clients = [one for one in options.clients if one not in proxied]
    return options, Plan(options.requests, options.rate, options.restarts, options.ttl, options.ready)


def _environment() -> str:
    """What the figures depend on, besides the plan."""
    versions = [f"{package} {version(package)}" for package in ("httpx", "aiohttp", "requests", "grpcio")]
    if shutil.which("haproxy"):
        said = subprocess.run(["haproxy", "-v"], capture_output=True, text=True).stdout.split()
        versions.append(f"HAProxy {said[2]}")
    return (
        f"Python {platform.python_version()}, {platform.machine()}, {platform.system()}, "
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; {', '.join(versions)}"
    )


def _print(cells: Sequence[str]) -> None:
    print("| " + " | ".join(cells) + " |", flush=True)


def _try(cluster: Cluster, client: str, plan: Plan) -> Run | None:
    """None for a client that did not get through: it says why, and the others have their turn."""
    try:
        done = run(cluster, client, plan)
    except Exception:
        print(f"{client} did not get through: {traceback.format_exc()}", file=sys.stderr)
        return None
    print(
        f"{client}: {done.load.told()}; {done.busy:.0%} of a processor, waited for one "
        f"{done.waited:.1%} of the time, load {os.getloadavg()[0]:.1f}; "
        f"sent once and executed more often: {sent_once(done)}; answered and not written down: {lost(done)}",
        file=sys.stderr,
    )
    for one in done.load.failed[:5]:
        print(f"  at {one.intended:.1f} s: {one.error}", file=sys.stderr)
    return done


if __name__ == "__main__":
    main()
