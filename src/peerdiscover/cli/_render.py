"""`peerdiscover render`: bootstrap settings of brokers, for entrypoints and init containers.

Invariants:

* Nothing is looked up: what is printed follows from the arguments and from the pod's own name.
* Nothing printed needs a password, and no option takes one: command lines can be read by others.
"""

from __future__ import annotations

from argparse import Namespace

from peerdiscover import brokers
from peerdiscover._labels import ordinal_of
from peerdiscover._text import quoted
from peerdiscover.errors import ConfigurationError
from peerdiscover.names import ServiceName
from peerdiscover.sources.environment import Environment

from . import FOUND
from ._arguments import environ_with

_FORMATS_OF = {"dynamic": ("kraft",), "offset": ("kraft",), "separator": ("hosts", "kafka")}
"""Which formats an option is for: given for another one it would do nothing."""


def run(arguments: Namespace) -> int:
    """Print the settings in the format that was asked for; what comes back is the exit status."""
    for option, formats in _FORMATS_OF.items():
        if arguments.format not in formats and getattr(arguments, option) not in (None, 0):
            raise ConfigurationError(f"--{option} is for render {' and '.join(formats)} only; leave it out")
    service = ServiceName.parse(arguments.name)
    environment = Environment(environ=environ_with(arguments.namespace, arguments.cluster_domain))
    pod = environment.pod_name()
    of_set = arguments.set or (pod.rpartition("-")[0] if ordinal_of(pod) is not None else None)
    if of_set is None and service.scheme != "static":
        raise ConfigurationError(
            f"this pod's name, {quoted(pod)}, has no ordinal, so it says no StatefulSet: write --name SET"
        )
    hosts = brokers.hosts(
        service,
        name=of_set,
        replicas=arguments.replicas,
        start=arguments.start,
        namespace=environment.namespace() if service.scheme != "static" else None,
        cluster_domain=environment.cluster_domain() if service.scheme != "static" else None,
    )
    if arguments.format == "kraft":
        print(_kraft(hosts, pod, arguments.offset, arguments.dynamic))
    elif arguments.format == "rabbitmq":
        print(_rabbitmq(brokers.rabbitmq_nodes(hosts), pod))
    else:
        default = "\n" if arguments.format == "hosts" else ","
        separator = default if arguments.separator is None else arguments.separator
        print(separator.join(brokers.kafka(hosts)))
    return FOUND


def _kraft(hosts: tuple[brokers.HostPort, ...], pod: str, offset: int, dynamic: bool) -> str:
    """This node's settings: voters or bootstrap servers, since Kafka forbids both at once (KIP-853).

    What is advertised is the listener that Kafka has by default. In its properties the last line of a name
    counts: another listener needs no option, but a line below.
    """
    voters = brokers.kraft_voters(hosts, offset=offset)
    me = _own(hosts, pod)
    if dynamic:
        quorum = f"controller.quorum.bootstrap.servers={','.join(brokers.kafka(hosts))}"
    else:
        quorum = f"controller.quorum.voters={voters}"
    return "\n".join(
        (
            f"node.id={(me.ordinal or 0) + offset}",
            f"advertised.listeners=PLAINTEXT://{me._replace(port=9092)}",
            quorum,
        )
    )


def _rabbitmq(nodes: tuple[str, ...], pod: str) -> str:
    own = next((node for node in nodes if node.startswith(f"rabbit@{pod}.")), "rabbit@THIS_POD")
    return "\n".join(
        (
            f"# Long names need in the environment: RABBITMQ_USE_LONGNAME=true RABBITMQ_NODENAME={own}",
            "cluster_formation.peer_discovery_backend = classic_config",
            *(f"cluster_formation.classic_config.nodes.{i} = {node}" for i, node in enumerate(nodes, 1)),
            f"cluster_formation.target_cluster_size_hint = {len(nodes)}",
        )
    )


def _own(hosts: tuple[brokers.HostPort, ...], pod: str) -> brokers.HostPort:
    """The host that is this pod; `ConfigurationError` if it is none of them."""
    for host in hosts:
        if host.host.partition(".")[0] == pod:
            return host
    raise ConfigurationError(
        f"this pod's name is {quoted(pod)}, and it is none of {hosts[0].host.partition('.')[0]} to "
        f"{hosts[-1].host.partition('.')[0]}; set POD_NAME (from metadata.name), or --name and --replicas"
    )
