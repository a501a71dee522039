"""Which pods are in the local zone, as far as DNS says. Pure.

CoreDNS from 1.14.7 on, with the option `zonal`, answers for TZ.pin._zone.SERVICE.NAMESPACE.svc.DOMAIN with
the pods of the service that are in the topology zone TZ.

the reply                 | what follows
--------------------------|------------------------------------------------------------------------
addresses                 | the pods with these addresses are in the zone; the zone of the others is unknown
NODATA                    | no pod is in the zone
NXDOMAIN                  | the server has no such names: not asked again for `SKIP_MISSING` lookups. If it
                          | had them last time, a single NXDOMAIN counts as an accident
none                      | nothing is known; not asked again for `SKIP_FAILED` lookups

Invariants:

* The zone is asked for beside the first question of a lookup, and only if the local zone is known. It costs
  no round trip, and its outcome neither changes the rest of the answer nor delays it for long.
* If nothing is known of a pod's zone, the endpoint has none: `membership` then keeps the one it had.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from peerdiscover._labels import DNS_LABEL
from peerdiscover.answers import Answer, Endpoint

from ._types import ADDRESS_TYPES, Question, Reply, ReplyStatus

SKIP_MISSING = 30
"""Lookups: some minutes, at the pace of usual TTLs."""
SKIP_FAILED = 2


@dataclass(slots=True)
class Zonal:
    """The results of earlier lookups, for one zone of one service."""

    skip: int = 0
    """How many lookups to come leave it out."""
    works: bool = False
    """Whether the server had such names last time."""

    def is_due(self) -> bool:
        """Whether this lookup should ask."""
        if self.skip > 0:
            self.skip -= 1
            return False
        return True

    def apply(self, zone: str, answer: Answer, replies: Sequence[Reply]) -> Answer:
        """The answer, with the zone of the pods that are in it."""
        if not answer.endpoints and not answer.unnamed:
            return answer  # without pods, CoreDNS has no such names either
        statuses = {reply.status for reply in replies}
        if statuses.isdisjoint({ReplyStatus.ANSWER, ReplyStatus.NODATA}):
            missing = ReplyStatus.NXDOMAIN in statuses
            if missing and self.works:
                self.works = False
            else:
                self.skip = SKIP_MISSING if missing else SKIP_FAILED
            return answer
        self.works = True
        there = {address for reply in replies for address in reply.addresses}
        return answer.replace(
            endpoints=tuple(_placed(answer.endpoints, there, zone)),
            unnamed=tuple(_placed(answer.unnamed, there, zone)),
        )


def _placed(endpoints: Iterable[Endpoint], there: set[str], zone: str) -> Iterable[Endpoint]:
    for endpoint in endpoints:
        yield endpoint if there.isdisjoint(endpoint.addresses) else replace(endpoint, zone=zone)


def zonal_questions(zone: str, name: str, families: Iterable[int]) -> tuple[Question, ...]:
    """The questions for the zone's addresses; none if the zone cannot be part of a name, such as `a..b`."""
    pinned = f"{zone.lower()}.pin._zone.{name}"  # CoreDNS compares in lower case
    if len(pinned) > 254 or not all(map(DNS_LABEL.fullmatch, zone.lower().split("."))):
        return ()
    return tuple(Question(pinned, ADDRESS_TYPES[family]) for family in families)
