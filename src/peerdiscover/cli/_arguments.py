"""The commands, their options and the help. Nothing is decided here, and little is imported."""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from peerdiscover._text import printable, quoted

_NAME = "[k8s:|auto:][_port._proto.]service[.namespace[.svc[.domain]]][:port], or static:ADDRESS:PORT,…"

_MAIN = """\
The pods behind a headless Kubernetes Service.

NAME is {name}
A name without a namespace belongs to the namespace of the pod that runs the command.
DNS is asked. With k8s: the command reads EndpointSlices from the API server instead; with auto:
it does so if it is allowed to, and asks DNS otherwise.
"""

_ENVIRONMENT = """\
Options that are not given are read from PEERDISCOVER_NAMESERVERS, PEERDISCOVER_NAMESPACE and
PEERDISCOVER_CLUSTER_DOMAIN, then from the pod (resolv.conf, its service account).
k8s: reads from the pod's API server (KUBERNETES_SERVICE_HOST, its service account).
"""

_STATUS = """\
exit status:
  0    found
  1    no peers, or fewer than asked for
  2    usage or configuration
  3    no answer: nothing is known about the peers
  130  interrupted (128 + the number of the signal)
"""

_RESOLVE = """\
Looks the name up once and prints the pods. An empty answer is confirmed by a second lookup, and
a failed lookup is repeated until --timeout expires.
"""
_RESOLVE_EXAMPLES = """\
examples:
  peerdiscover resolve web-headless.prod:8080
  peerdiscover resolve web-headless.prod:http --json | jq -r '.peers[].address'
  peerdiscover resolve web-headless.prod:http --nameserver 127.0.0.1:5353
"""

_WATCH = """\
Prints each change as it happens. The first change adds the pods that are known at the start. On a
terminal the set stands below the changes, and q ends the command.

--exec runs CMD for each change and gives it the change as a JSON object on stdin. CMD is split
into words as a shell would do it, and runs without a shell; for pipes write --exec "sh -c '…'".
One CMD runs at a time: changes that happen meanwhile are printed, and passed to the next run, as
one change.
"""
_WATCH_EXAMPLES = """\
examples:
  peerdiscover watch web-headless.prod:8080
  peerdiscover watch web-headless.prod:8080 --json | jq .peers
  peerdiscover watch web-headless.prod:8080 --exec './write-config --reload'
"""

_WAIT = """\
Waits until there are pods, prints them and ends. It is made for init containers and entrypoints.

--self waits until DNS knows this pod's own address under its own name (POD.SERVICE.NAMESPACE.svc…),
which some servers need before they start. The pod's name is POD_NAME, or else the hostname; its
address is POD_IP or POD_IPS, or else the machine's. A pod that waits is not ready, and DNS leaves
out pods that are not ready unless the Service sets publishNotReadyAddresses: true.
"""
_WAIT_EXAMPLES = """\
examples:
  peerdiscover wait db-headless:5432 --timeout 120
  peerdiscover wait web-headless.prod:8080 --min 3
  peerdiscover wait rabbitmq-headless:5672 --self && exec rabbitmq-server
"""

_DEMO = """\
Shows the library at work on this machine, with an embedded nameserver and three pods on
loopback: resolving, round-robin, broadcast, ordinals, and a rolling restart under load. All
figures are measured as it runs. It needs no network, no cluster and no privileges.
"""


_RENDER = """\
Prints bootstrap settings of a broker behind a headless Service, for entrypoints and init
containers. Pods go by name, whether or not they run now; nothing is looked up.

  hosts     host:port of each pod, one a line
  kafka     bootstrap.servers
  kraft     node.id, advertised.listeners of this pod, and controller.quorum.voters
            (with --dynamic: controller.quorum.bootstrap.servers; Kafka forbids both)
  rabbitmq  the lines of rabbitmq.conf for classic_config

NAME says the Service and the port; for kraft that is the controller's, and what is advertised is
Kafka's default listener, PLAINTEXT on 9092. This pod's name is POD_NAME, else the hostname.
"""
_RENDER_EXAMPLES = """\
examples:
  peerdiscover render kafka kafka-headless:9092 --name kafka --replicas 3
  peerdiscover render kraft kafka-headless:9093 --replicas 3 >> server.properties
  peerdiscover render rabbitmq rabbit-headless:5672 --replicas 3 >> rabbitmq.conf

exit status: 0, or 2 for usage or configuration
"""

_DOCTOR = """\
Says what is wrong with a headless Service, and what to write instead: 27 checks. With a NAME it asks
DNS, the API server if it may, and opens one connection to each pod. With -f it reads manifests and
asks nothing; NAME then means that Service alone. It writes nothing.
"""
_DOCTOR_EXAMPLES = """\
examples:
  peerdiscover doctor web-headless.prod:8080
  helm template web ./chart | peerdiscover doctor -f -
  kubectl get svc,sts,deploy,ds,job,po,netpol,endpointslices,sa,role,rolebinding -n prod -o json |
      peerdiscover doctor -f - web-headless.prod:http
  peerdiscover doctor --explain PD302

exit status:
  0    no error
  1    an error; with --strict also a warning, or something that could not be checked
  2    usage, or a file that cannot be read
  3    nothing could be asked
"""


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the arguments of one command. Usage errors exit with 2, `--help` with 0 (`SystemExit`)."""
    top = _Parser(
        prog="peerdiscover",
        description=_MAIN.format(name=_NAME),
        epilog=f"`peerdiscover COMMAND --help` shows options and examples.\n\n{_STATUS}",
    )
    top.add_argument("--version", action=_Version)
    command = top.add_subparsers(dest="command", metavar="COMMAND", required=True).add_parser

    resolve = command(
        "resolve", help="look a name up once", description=_RESOLVE, epilog=_epilog(_RESOLVE_EXAMPLES)
    )
    _name(resolve)
    resolve.add_argument("--json", action="store_true", help="print one JSON object")
    _lookup_options(resolve, "in total (default: 5)", 5.0)

    watch = command(
        "watch", help="print each change as it happens", description=_WATCH, epilog=_epilog(_WATCH_EXAMPLES)
    )
    _name(watch)
    watch.add_argument("--json", action="store_true", help="print one JSON object a line")
    watch.add_argument("--exec", metavar="CMD", dest="run", help="run CMD for each change")
    _lookup_options(watch, "until it ends, after a running CMD has ended (default: never)")

    wait = command(
        "wait", help="wait until there are pods", description=_WAIT, epilog=_epilog(_WAIT_EXAMPLES)
    )
    _name(wait)
    add = wait.add_argument
    add("--min", metavar="N", type=_count, default=1, help="how many pods, this one included (default: 1)")
    add("--self", action="store_true", dest="own", help="wait until DNS knows this pod under its own name")
    _lookup_options(wait, "in total (default: 60)", 60.0)

    demo = command("demo", help="show the library at work on this machine", description=_DEMO)
    demo.add_argument("--fast", action="store_true", help="no pauses for reading; takes less than 5 s")
    _verbose(demo)

    render = command(
        "render", help="bootstrap settings of a broker", description=_RENDER, epilog=_RENDER_EXAMPLES
    )
    render.add_argument("format", metavar="FORMAT", choices=("hosts", "kafka", "kraft", "rabbitmq"))
    _name(render)
    add = render.add_argument
    add("--replicas", metavar="N", type=_count, required=True, help="how many pods there are to be")
    add("--name", metavar="SET", dest="set", help="the StatefulSet (default: this pod's own)")
    add("--start", metavar="I", type=_count, default=0, help="its first ordinal (default: 0)")
    add("--offset", metavar="K", type=_count, default=0, help="kraft: what is added to ordinals for ids")
    add("--dynamic", action="store_true", help="kraft: bootstrap servers in place of voters")
    add("--separator", metavar="S", help="hosts and kafka: between two (default: a new line; a comma)")
    add("--namespace", metavar="NS", help="the namespace of names without one")
    add("--cluster-domain", metavar="DOMAIN", help="the cluster's domain, usually cluster.local")
    _verbose(render)

    doctor = command(
        "doctor",
        help="what is wrong with a Service, and what to write",
        description=_DOCTOR,
        epilog=f"{_ENVIRONMENT}\n{_DOCTOR_EXAMPLES}",
    )
    _name(doctor, nargs="*")
    add = doctor.add_argument
    add("-f", metavar="PATH", dest="files", action="append", help="files, folders, or - for stdin")
    add("--explain", metavar="CODE", help="what a check means, and what mends it")
    add("-o", "--output", choices=("text", "json", "sarif"), default="text", help="default: text")
    add("--strict", action="store_true", help="end with 1 for warnings and what could not be checked")
    add("--ignore", metavar="CODE,…", help="leave these checks out")
    add("--all", action="store_true", help="show notes, too")
    add("--no-connect", action="store_true", help="open no connection to the pods")
    _lookup_options(doctor, "in total (default: 15)", namespace=("-n", "--namespace"))
    return top.parse_args(argv)


def environ_with(namespace: str | None, cluster_domain: str | None) -> dict[str, str]:
    """The environment variables, with what these options say in place of theirs."""
    given = {"PEERDISCOVER_NAMESPACE": namespace, "PEERDISCOVER_CLUSTER_DOMAIN": cluster_domain}
    return {**os.environ, **{name: value for name, value in given.items() if value}}


class _Parser(argparse.ArgumentParser):
    """Prints the help as it is written, and shows an argument in an error on one line, however long it is."""

    def __init__(self, **options: Any) -> None:
        formatter = argparse.RawDescriptionHelpFormatter
        super().__init__(formatter_class=formatter, allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        super().error(printable(message, 500))


class _Version(argparse.Action):
    """Looks the version up only when `--version` is given."""

    def __init__(self, option_strings: Sequence[str], dest: str, **_: object) -> None:
        super().__init__(option_strings, dest, nargs=0, help="print the version and exit")

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version  # takes longer than the rest of the help

        print(f"peerdiscover {version('peerdiscover')}")
        parser.exit()


def _epilog(examples: str) -> str:
    return f"{_ENVIRONMENT}\n{examples}\n{_STATUS}"


def _name(parser: argparse.ArgumentParser, nargs: str | None = None) -> None:
    parser.add_argument(
        "name",
        metavar="NAME",
        nargs=nargs,
        help="such as web-headless.prod:8080; `peerdiscover --help` lists all forms",
    )


def _lookup_options(
    parser: argparse.ArgumentParser,
    meaning: str,
    seconds: float | None = None,
    namespace: tuple[str, ...] = ("--namespace",),
) -> None:
    add: Callable[..., object] = parser.add_argument
    add(
        "--nameserver",
        metavar="ADDRESS[:PORT]",
        action="append",
        help="a nameserver, such as 10.96.0.10, 127.0.0.1:5353 or [::1]:5353; may be repeated",
    )
    add(*namespace, metavar="NS", help="the namespace, if NAME has none")
    add("--cluster-domain", metavar="DOMAIN", help="the cluster's domain, usually cluster.local")
    add("--family", choices=("any", "ipv4", "ipv6"), help="the kind of addresses (default: any)")
    add("--timeout", metavar="S", type=_seconds, default=seconds, help=f"seconds {meaning}")
    _verbose(parser)


def _verbose(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-v",
        "--verbose",
        action="count",
        default=0,
        help="log what happens to stderr; -vv: each answer too",
    )


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds > 0):
        raise argparse.ArgumentTypeError(f"{quoted(text)}: expected a number of seconds above 0")
    return seconds


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):  # Python refuses to read 4,301 digits
        raise argparse.ArgumentTypeError(f"{quoted(text)}: expected a number of pods")
    return int(text)
