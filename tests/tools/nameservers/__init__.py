"""Real DNS servers on loopback, started and ended by the tests.

    with Knot() as knot, Unbound(knot) as cache:
        knot.publish("web.prod", pods_of("web", 3))
        DNS([cache.nameserver]).lookup(...)

`Knot` and `Bind` are authorities whose records change under the client; `Dnsmasq` and `Unbound` are
caches in front of them; `Proxy` is a bad network in between.
"""

from ._authoritative import Authoritative, Bind, Knot
from ._caches import Dnsmasq, Unbound
from ._process import Server, ask, free_endpoint
from ._programs import in_ci, require
from ._proxy import At, FromElsewhere, Meddle, Proxy, Seen
from ._zone import Pod, pods_of, service_records

__all__ = [
    "At",
    "Authoritative",
    "Bind",
    "Dnsmasq",
    "FromElsewhere",
    "Knot",
    "Meddle",
    "Pod",
    "Proxy",
    "Seen",
    "Server",
    "Unbound",
    "ask",
    "free_endpoint",
    "in_ci",
    "pods_of",
    "require",
    "service_records",
]
