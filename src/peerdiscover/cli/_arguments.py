"""What can be written on the command line, and the help for it. Decides nothing else, imports little."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence

__all__ = ["parse"]

_NAME = "[k8s:|auto:][_port._proto.]service[.namespace[.svc[.domain]]][:port], or static:ADDRESS:PORT,…"

_MAIN = """\
The pods behind a headless Kubernetes Service.

NAME is {name}
A name without a namespace is in the namespace of the pod where the command runs.
DNS is asked; k8s: reads EndpointSlices of the API server instead, auto: where that is allowed.
"""

_SURROUNDINGS = """\
Where options are missing, PEERDISCOVER_NAMESERVERS, PEERDISCOVER_NAMESPACE and
PEERDISCOVER_CLUSTER_DOMAIN count, then what the pod tells (resolv.conf, its service account).
The API server that k8s: asks is the pod's (KUBERNETES_SERVICE_HOST, its service account).
"""

_STATUS = """\
exit status:
  0    found
  1    no peers, or fewer than asked for
  2    usage or configuration
  3    nobody could answer: nothing is known about the peers
  130  interrupted (128 + the number of the signal)
"""

_RESOLVE = """\
Asks once and prints the pods. A second question confirms that nobody is there, and failures
are asked again until --timeout is over.
"""
_RESOLVE_EXAMPLES = """\
examples:
  peerdiscover resolve web-headless.prod:8080
  peerdiscover resolve web-headless.prod:http --json | jq -r '.peers[].address'
  peerdiscover resolve web-headless.prod:http --nameserver 127.0.0.1:5353
"""

_WATCH = """\
Prints each change as it happens. The first one adds the pods that are known now.

--exec runs CMD for each change, with the JSON object of it on stdin. CMD is split into words
as a shell does it and run without a shell; for pipes write --exec "sh -c '…'". One CMD runs
at a time: what changes meanwhile is told to the next run, and printed, as one difference.
"""
_WATCH_EXAMPLES = """\
examples:
  peerdiscover watch web-headless.prod:8080
  peerdiscover watch web-headless.prod:8080 --json | jq .peers
  peerdiscover watch web-headless.prod:8080 --exec './write-config --reload'
"""

_WAIT = """\
Waits until pods are there, prints them and ends: for init containers and entrypoints.

--self waits until DNS gives this pod's own address for its own name (POD.SERVICE.NAMESPACE.svc…),
as some servers need it before they start. The pod's name is POD_NAME, else the hostname; its
address POD_IP or POD_IPS, else the machine's. A pod that waits is not ready, and DNS leaves out
pods that are not ready unless the Service says publishNotReadyAddresses: true.
"""
_WAIT_EXAMPLES = """\
examples:
  peerdiscover wait db-headless:5432 --timeout 120
  peerdiscover wait web-headless.prod:8080 --min 3
  peerdiscover wait rabbitmq-headless:5672 --self && exec rabbitmq-server
"""

_DEMO = """\
The library at work on this machine: an embedded nameserver and three pods on loopback,
resolving, round-robin, broadcast, ordinals and a rolling restart under load. What it prints
is measured. It needs no network, no cluster and no privileges.
"""


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The arguments of one command. Usage errors end with status 2, `--help` with 0 (`SystemExit`)."""
    top = argparse.ArgumentParser(
        prog="peerdiscover",
        description=_MAIN.format(name=_NAME),
        epilog=f"`peerdiscover COMMAND --help` shows options and examples.\n\n{_STATUS}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    top.add_argument("--version", action=_Version)
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def command(name: str, what: str, text: str, end: str) -> argparse.ArgumentParser:
        return commands.add_parser(
            name,
            help=what,
            description=text,
            epilog=end,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    resolve = command(
        "resolve",
        "the pods behind a name, once",
        _RESOLVE,
        f"{_SURROUNDINGS}\n{_RESOLVE_EXAMPLES}\n{_STATUS}",
    )
    _name(resolve)
    resolve.add_argument("--json", action="store_true", help="print one JSON object")
    _asking(resolve, "in all (default: 5)")

    watch = command(
        "watch", "each change as it happens", _WATCH, f"{_SURROUNDINGS}\n{_WATCH_EXAMPLES}\n{_STATUS}"
    )
    _name(watch)
    watch.add_argument("--json", action="store_true", help="print one JSON object a line")
    watch.add_argument("--exec", metavar="CMD", dest="run", help="run CMD for each change")
    _asking(watch, "until it ends; a CMD under way is awaited (default: it does not end)")

    wait = command("wait", "until pods are there", _WAIT, f"{_SURROUNDINGS}\n{_WAIT_EXAMPLES}\n{_STATUS}")
    _name(wait)
    wait.add_argument(
        "--min", metavar="N", type=_count, default=1, help="so many pods, this one included (default: 1)"
    )
    wait.add_argument(
        "--self", action="store_true", dest="own", help="until DNS knows this pod at its own address"
    )
    _asking(wait, "in all (default: 60)")

    demo = command("demo", "the library at work, on this machine alone", _DEMO, "")
    demo.add_argument("--fast", action="store_true", help="without pauses for reading, in under 5 s")
    _verbose(demo)
    return top.parse_args(argv)


class _Version(argparse.Action):
    """Finds out the version when it is asked for."""

    def __init__(self, option_strings: Sequence[str], dest: str, **_: object) -> None:
        super().__init__(option_strings, dest, nargs=0, help="print the version and end")

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version  # takes longer than the rest of the help

        print(f"peerdiscover {version('peerdiscover')}")
        parser.exit()


def _name(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "name", metavar="NAME", help="such as web-headless.prod:8080; `peerdiscover --help` has all forms"
    )


def _asking(parser: argparse.ArgumentParser, how_long: str) -> None:
    add: Callable[..., object] = parser.add_argument
    add(
        "--nameserver",
        metavar="ADDRESS[:PORT]",
        action="append",
        help="ask this one, such as 10.96.0.10, 127.0.0.1:5353 or [::1]:5353; may be given several times",
    )
    add("--namespace", metavar="NS", help="the namespace of names without one")
    add("--cluster-domain", metavar="DOMAIN", help="the cluster's domain, usually cluster.local")
    add("--family", choices=("any", "ipv4", "ipv6"), help="which addresses (default: any)")
    add("--timeout", metavar="S", type=_seconds, help=f"seconds {how_long}")
    _verbose(parser)


def _verbose(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-v", "--verbose", action="count", default=0, help="show what happens on stderr; -vv: each answer"
    )


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds > 0):
        raise argparse.ArgumentTypeError(f"{text!r}: seconds above 0 are wanted")
    return seconds


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r}: a number of pods is wanted")
    return int(text)
