"""What a thousand endpoints in ten slices cost a program: the first set, each change, memory."""

from __future__ import annotations

import time
from collections.abc import Iterator
from statistics import median

from tests.integration.kubernetes._writing import PORT, endpoint, service, slice_of
from tests.tools.cluster import Cluster

from ._cluster_children import program
from ._table import Row

SLICES, IN_EACH = 10, 100
TIMES = 9
CHANGES, APART = 60, 0.1  # seconds


def figures(cluster: Cluster) -> Iterator[Row]:
    api, namespace, everybody = cluster.api, cluster.namespace(), SLICES * IN_EACH
    for both in "many", "few":
        api.post(api.path("Service", namespace), service(namespace, both))
    few = slice_of(namespace, "few", "few", [endpoint(20_000)])
    api.post(api.path("EndpointSlice", namespace), few)
    slices = [[endpoint(100 * i + j) for j in range(IN_EACH)] for i in range(SLICES)]
    for i, endpoints in enumerate(slices):
        api.post(api.path("EndpointSlice", namespace), slice_of(namespace, f"many-{i}", "many", endpoints))
    name, size = f"many.{namespace}:{PORT}", f"{everybody:,} endpoints in {SLICES} slices: "

    warm = f"few.{namespace}:{PORT}"
    entered, remembered = [], []
    for source in "k8s", "dns":
        with program(cluster, "enter", name, source, least=everybody, times=TIMES) as one:
            entered.append(f"{median(line['seconds'] for line in one.ended()[1:]) * 1e3:.0f} ms")
        with program(cluster, "memory", name, source, least=everybody, warm=warm) as one:
            (line,) = one.ended()
            remembered.append(f"{line['stays'] / 2**20:.1f} MB, {line['peak'] / 2**20:.1f} MB")
    yield Row(size + "from entering to the whole set", *entered)

    with program(cluster, "follow", name, "k8s", least=everybody) as one:
        one.there(everybody)
        began = one.ask()["cpu"]
        new = [endpoint(everybody + i) for i in range(CHANGES)]
        for i, one_more in enumerate(new):
            which = i % SLICES
            slices[which] = [*slices[which][1:], one_more]
            api.put(
                api.path("EndpointSlice", namespace, f"many-{which}"),
                slice_of(namespace, f"many-{which}", "many", slices[which]),
            )
            time.sleep(APART)
        one.until(lambda lines: new[-1]["addresses"][0] in lines[-1].get("added", ()))
        a_change = (one.ask()["cpu"] - began) / CHANGES
        assert len(one.added()) == everybody + CHANGES
    with program(cluster, "refresh", name, "dns", least=everybody, times=TIMES) as one:
        a_refresh = median(line["cpu"] for line in one.ended())
    yield Row(
        size + "processor time for a change; for a refresh",
        f"{a_change * 1e3:.1f} ms",
        f"{a_refresh * 1e3:.1f} ms",
    )
    yield Row(size + "memory that stays, and most there was", *remembered)
    cluster.delete_namespace(namespace)
