"""`peerdiscover render`: bootstrap settings of brokers, for entrypoints and init containers.

Invariants:

* Nothing is looked up: what is printed follows from the arguments and from the pod's own name.
* Nothing printed needs a password, and no option takes one: command lines can be read by others.
"""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Iterable

from peerdiscover import brokers
from peerdiscover._labels import ordinal_of
from peerdiscover.errors import ConfigurationError
from peerdiscover.names import ServiceName
from peerdiscover.sources.environment import Environment


def run(arguments: Namespace) -> int:
    """Print the settings in the format that was asked for; what comes back is the exit status."""
    service = ServiceName.parse(arguments.name)
    environment = _environment(arguments)
    pod = _own_hostname()
    of_set = arguments.set or _set_of(pod)
    if of_set is None and service.scheme != "static":
        raise ConfigurationError(
            f"this pod's name, {pod!r}, has no ordinal, so it says no StatefulSet: write --name SET"
        )
    hosts = brokers.hosts(
        service,
        name=of_set,
        replicas=arguments.replicas,
        start=arguments.start,
        namespace=environment.namespace() if service.scheme != "static" else None,
        cluster_domain=environment.cluster_domain() if service.scheme != "static" else None,
    )
    print(_FORMATS[arguments.format](hosts, pod, arguments))
    return 0


def _hosts(hosts: tuple[brokers.HostPort, ...], _pod: str, arguments: Namespace) -> str:
    return _separated(map(str, hosts), arguments, "\n")


def _kafka(hosts: tuple[brokers.HostPort, ...], _pod: str, arguments: Namespace) -> str:
    return _separated(brokers.kafka(hosts), arguments, ",")


def _kraft(hosts: tuple[brokers.HostPort, ...], pod: str, arguments: Namespace) -> str:
    """This node's settings: voters or bootstrap servers, since Kafka forbids both at once (KIP-853).

    What is advertised is the listener that Kafka has by default. In its properties the last line of a name
    counts: another listener needs no option, but a line below.
    """
    voters = brokers.kraft_voters(hosts, offset=arguments.offset)
    me = _own(hosts, pod)
    if arguments.dynamic:
        quorum = f"controller.quorum.bootstrap.servers={','.join(brokers.kafka(hosts))}"
    else:
        quorum = f"controller.quorum.voters={voters}"
    return "\n".join(
        (
            f"node.id={(me.ordinal or 0) + arguments.offset}",
            f"advertised.listeners=PLAINTEXT://{me._replace(port=9092)}",
            quorum,
        )
    )


def _rabbitmq(hosts: tuple[brokers.HostPort, ...], pod: str, _arguments: Namespace) -> str:
    nodes = brokers.rabbitmq_nodes(hosts)
    own = next((node for node in nodes if node.startswith(f"rabbit@{pod}.")), "rabbit@THIS_POD")
    return "\n".join(
        (
            f"# Long names need in the environment: RABBITMQ_USE_LONGNAME=true RABBITMQ_NODENAME={own}",
            "cluster_formation.peer_discovery_backend = classic_config",
            *(f"cluster_formation.classic_config.nodes.{i} = {node}" for i, node in enumerate(nodes, 1)),
            f"cluster_formation.target_cluster_size_hint = {len(nodes)}",
        )
    )


_FORMATS = {"hosts": _hosts, "kafka": _kafka, "kraft": _kraft, "rabbitmq": _rabbitmq}


def _own(hosts: tuple[brokers.HostPort, ...], pod: str) -> brokers.HostPort:
    """The host that is this pod; `ConfigurationError` if it is none of them."""
    for host in hosts:
        if host.host.partition(".")[0] == pod:
            return host
    raise ConfigurationError(
        f"this pod's name is {pod!r}, and it is none of {hosts[0].host.partition('.')[0]} to "
        f"{hosts[-1].host.partition('.')[0]}; set POD_NAME (from metadata.name), or --name and --replicas"
    )


def _own_hostname() -> str:
    return os.environ.get("POD_NAME") or os.environ.get("HOSTNAME") or os.uname().nodename.partition(".")[0]


def _set_of(pod: str) -> str | None:
    """The StatefulSet that a pod of this name belongs to; None if the name has no ordinal."""
    return pod.rpartition("-")[0] if ordinal_of(pod) is not None else None


def _environment(arguments: Namespace) -> Environment:
    given = {
        "PEERDISCOVER_NAMESPACE": arguments.namespace,
        "PEERDISCOVER_CLUSTER_DOMAIN": arguments.cluster_domain,
    }
    return Environment(environ={**os.environ, **{name: value for name, value in given.items() if value}})


def _separated(texts: Iterable[str], arguments: Namespace, default: str) -> str:
    separator = default if arguments.separator is None else arguments.separator
    return str(separator).join(texts)
