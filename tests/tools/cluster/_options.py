"""What a cluster can be asked to be, and the files that follow from it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from ._network import DNS


@dataclass(frozen=True, kw_only=True)
class DnsOptions:
    """How CoreDNS answers."""

    ttl: int = 5
    cache: int | None = None
    """Seconds that its cache plugin keeps answers; None: as long as `ttl`; 0: without that plugin."""
    endpoint_pod_names: bool = False
    """Endpoints without a hostname are called by their pod's name, not by their address."""
    zonal: bool = False
    """Answers for the zone-scoped names `ZONE.pin._zone.SERVICE…` and `ZONE.prefer._zone.SERVICE…` too."""
    loadbalance: bool = True


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a cluster begins."""

    dns: DnsOptions = DnsOptions()
    cluster_domain: str = "cluster.local"
    dual_stack: bool = False
    """Pods have IPv6 addresses too, and Services may ask for them."""
    zones: tuple[str, ...] = ("zone-a",)
    """One node for each: node-1 in the first one, and so on. A zone may stand there twice."""
    apiserver: tuple[str, ...] = ()
    """More flags for kube-apiserver."""

    @property
    def nodes(self) -> dict[str, str]:
        """The zone of each node, by the node's name."""
        return {f"node-{number}": zone for number, zone in enumerate(self.zones, 1)}

    def search(self, namespace: str) -> str:
        """The search line of a pod's resolv.conf."""
        domain = self.cluster_domain
        return f"{namespace}.svc.{domain} svc.{domain} {domain}"

    def write(self, folder: Path) -> None:
        """For the keeper to read."""
        folder.joinpath("options.json").write_text(json.dumps(asdict(self)))

    @classmethod
    def read(cls, folder: Path) -> Options:
        """What `write` wrote."""
        told = json.loads(folder.joinpath("options.json").read_text())
        return cls(
            dns=DnsOptions(**told["dns"]),
            cluster_domain=told["cluster_domain"],
            dual_stack=told["dual_stack"],
            zones=tuple(told["zones"]),
            apiserver=tuple(told["apiserver"]),
        )


def corefile(folder: Path, domain: str, dns: DnsOptions) -> str:
    """CoreDNS's configuration."""
    more = "endpoint_pod_names\n        " if dns.endpoint_pod_names else ""
    more += "zonal\n        " if dns.zonal else ""
    seconds = dns.ttl if dns.cache is None else dns.cache
    plugins = [f"cache {seconds}"] if seconds else []
    plugins += ["loadbalance"] if dns.loadbalance else []
    return f""".:53 {{
    bind {DNS}
    errors
    ready {DNS}:8181
    kubernetes {domain} in-addr.arpa ip6.arpa {{
        kubeconfig {folder}/kubeconfig
        pods insecure
        {more}fallthrough in-addr.arpa ip6.arpa
        ttl {dns.ttl}
    }}
    {(chr(10) + "    ").join(plugins)}
}}
"""
