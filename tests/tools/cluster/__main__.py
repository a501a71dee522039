"""The test cluster by hand.

    python -m tests.tools.cluster build                 the binary, once (ten minutes)
    python -m tests.tools.cluster up [options]          a cluster, until Ctrl-C
    python -m tests.tools.cluster demo                  the tutorial's classic example on a cluster of its own
    python -m tests.tools.cluster apply FILE ...        create or change the YAML files ("-": stdin)
    python -m tests.tools.cluster delete KIND NAME      delete an object
    python -m tests.tools.cluster get KIND              the names of objects
    python -m tests.tools.cluster exec -- COMMAND ...   run COMMAND where a node stands: DNS is the cluster's
    python -m tests.tools.cluster exec-pod POD -- COMMAND  run COMMAND in a pod that runs one itself
    python -m tests.tools.cluster logs POD              what a pod's command printed

All but the first three speak to the youngest cluster that runs, or to the one that --name names.
"""

# ruff: noqa: T201  what a command prints is its result

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from ._api import ApiError
from ._binary import build
from ._cluster import Cluster, ClusterError
from ._demo import demo
from ._keeper import main as keep
from ._requirements import Unavailable

_FAILURES = (
    ApiError,
    ClusterError,
    LookupError,
    OSError,
    Unavailable,
    ValueError,
    subprocess.CalledProcessError,
)
"""What is said in one line: it is no mistake of this program."""


def main() -> int:
    arguments = _parser().parse_args()
    # As an exception it ends what was started: the compiler, a cluster.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    if arguments.what == "keeper":
        keep(arguments.name)
        return 0
    command: Callable[[argparse.Namespace], int] = _COMMANDS[arguments.what]
    try:
        return command(arguments)
    except _FAILURES as error:
        print(error, file=sys.stderr)
        return 1


def _build(arguments: argparse.Namespace) -> int:
    print(build())
    return 0


def _demo(arguments: argparse.Namespace) -> int:
    demo()
    return 0


def _up(arguments: argparse.Namespace) -> int:
    with Cluster.start(
        ttl=arguments.ttl,
        cluster_domain=arguments.cluster_domain,
        dual_stack=arguments.dual_stack,
        zones=arguments.zone or ["zone-a"],
    ) as cluster:
        print(f"ready: {cluster.name}, its files are in {cluster.folder}", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()
    return 0


def _apply(arguments: argparse.Namespace) -> int:
    cluster = Cluster.running(arguments.name)
    for file in arguments.files:
        text = sys.stdin.read() if file == "-" else Path(file).read_text()
        for item in cluster.api.apply(text, arguments.namespace):
            print(f"{item['kind'].lower()}/{item['metadata']['name']} applied")
    return 0


def _delete(arguments: argparse.Namespace) -> int:
    api = Cluster.running(arguments.name).api
    api.delete(api.path(arguments.kind, arguments.namespace, arguments.object))
    return 0


def _get(arguments: argparse.Namespace) -> int:
    for item in Cluster.running(arguments.name).api.list(arguments.kind, arguments.namespace):
        print(item["metadata"]["name"])
    return 0


def _exec(arguments: argparse.Namespace) -> int:
    cluster = Cluster.running(arguments.name)
    os.execvp("ip", ["ip", "netns", "exec", cluster.name, *arguments.command])


def _exec_pod(arguments: argparse.Namespace) -> int:
    cluster = Cluster.running(arguments.name)
    done = cluster.exec(
        arguments.pod, arguments.namespace, arguments.command, capture_output=False, timeout=None
    )
    return done.returncode


def _logs(arguments: argparse.Namespace) -> int:
    print(Cluster.running(arguments.name).logs(arguments.pod, arguments.namespace), end="")
    return 0


_COMMANDS = {
    "build": _build,
    "demo": _demo,
    "up": _up,
    "apply": _apply,
    "delete": _delete,
    "get": _get,
    "exec": _exec,
    "exec-pod": _exec_pod,
    "logs": _logs,
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.tools.cluster",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="what", required=True, metavar="COMMAND")
    commands.add_parser("build")
    commands.add_parser("demo")
    up = commands.add_parser("up")
    up.add_argument("--ttl", type=int, default=5, help="seconds that DNS answers may be kept (5)")
    up.add_argument("--cluster-domain", default="cluster.local")
    up.add_argument("--dual-stack", action="store_true", help="pods have IPv6 addresses, too")
    up.add_argument("--zone", action="append", help="a node in this zone; repeatable")
    commands.add_parser("keeper").add_argument("name")
    for name in ("apply", "delete", "get", "exec", "exec-pod", "logs"):
        command = commands.add_parser(name)
        command.add_argument("--name", help="the cluster")
        if name != "exec":
            command.add_argument("-n", "--namespace", default="default")
        match name:
            case "apply":
                command.add_argument("files", nargs="+", metavar="FILE")
            case "delete":
                command.add_argument("kind", metavar="KIND")
                command.add_argument("object", metavar="NAME")
            case "get":
                command.add_argument("kind", metavar="KIND")
            case "exec-pod" | "logs":
                command.add_argument("pod", metavar="POD")
        if name.startswith("exec"):
            command.add_argument("command", nargs="+", metavar="COMMAND")
    return parser


if __name__ == "__main__":
    sys.exit(main())
