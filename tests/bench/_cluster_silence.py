"""A watch that is open and says nothing: how long until that is noticed, and whether `status` shows it."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator

from tests.integration.kubernetes._swallowing import Proxy, tells_no_end
from tests.integration.kubernetes._writing import endpoint, service, slice_of
from tests.tools.cluster import Cluster
from tests.tools.cluster._certificates import ADMIN_TOKEN

from ._cluster_children import program
from ._table import Row

TIMEOUT_SECONDS = 10
TIMES = 3
LOOK = 0.1  # seconds between two looks at `status`


def figures(cluster: Cluster) -> Iterator[Row]:
    namespace = cluster.namespace()
    cluster.api.post(cluster.api.path("Service", namespace), service(namespace, "web"))
    numbers = iter(range(1, 1000))

    def write(name: str) -> str:
        """A slice with one endpoint; its address."""
        one = endpoint(next(numbers))
        where = cluster.api.path("EndpointSlice", namespace)
        cluster.api.post(where, slice_of(namespace, name, "web", [one]))
        return str(one["addresses"][0])

    write("stays")
    with cluster.inside(), Proxy(cluster) as proxy:

        def swallow() -> None:
            proxy.swallow = tells_no_end

        for what, silence in (
            ("a proxy swallows DELETED", swallow),
            ("the connection is open and dead", proxy.go_deaf),
        ):
            yield _missed(cluster, namespace, proxy, what, silence, write)
    cluster.delete_namespace(namespace)


def _missed(
    cluster: Cluster,
    namespace: str,
    proxy: Proxy,
    what: str,
    silence: Callable[[], None],
    write: Callable[[str], str],
) -> Row:
    seconds, ages = [], []
    for _ in range(TIMES):
        proxy.swallow = lambda _: False
        address = write("goes")
        with program(
            cluster,
            "follow",
            f"web.{namespace}:http",
            "k8s",
            least=2,
            server=proxy.server,
            ca=str(cluster.ca),
            token=ADMIN_TOKEN,
            timeout_seconds=TIMEOUT_SECONDS,
        ) as one:
            one.there(2)
            time.sleep(random.uniform(0, TIMEOUT_SECONDS / 2))  # at any moment of a watch
            silence()
            cluster.api.delete(cluster.api.path("EndpointSlice", namespace, "goes"))
            began, age = time.monotonic(), 0.0
            while address not in one.removed():
                age = max(age, one.ask()["age"])
                time.sleep(LOOK)
                assert time.monotonic() < began + 10 * TIMEOUT_SECONDS, one.lines[-3:]
            seconds.append(one.removed()[address] - began)
            ages.append(age)
    return Row(
        f"{what}, timeoutSeconds = {TIMEOUT_SECONDS}: until it is noticed, the longest of {TIMES}",
        f"{max(seconds):.1f} s; `status.age` came to {max(ages):.1f} s",
        goal=f"≤ {TIMEOUT_SECONDS} s",
    )
