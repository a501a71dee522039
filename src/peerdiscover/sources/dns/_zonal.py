"""Who is in the own zone, as far as DNS tells. Pure.

CoreDNS from 1.14.7 on, with the option `zonal`, answers for TZ.pin._zone.SERVICE.NAMESPACE.svc.DOMAIN with
the pods of the service that are in the topology zone TZ.

the reply                 | what follows
--------------------------|------------------------------------------------------------------------
addresses                 | the pods with those addresses are in the zone; of the others it is not known where
NODATA                    | nobody is
NXDOMAIN                  | the server has no such names: not asked again for `SKIP_MISSING` lookups. Where it
                          | had them the last time, once is an accident
none                      | nothing is known; not asked again for `SKIP_FAILED` lookups

Rules of this room:

* It is asked beside the first question of a lookup, and only where the own zone is known. It takes no
  round trip, and what becomes of it neither changes nor delays for long what is found otherwise.
* Where nothing is told, nobody's zone is: `membership` then keeps what was told before.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from peerdiscover.answers import Answer, Endpoint
from peerdiscover.names import DNS_LABEL

from ._types import Question, RecordType, Reply, ReplyStatus

__all__ = ["SKIP_FAILED", "SKIP_MISSING", "Zonal", "zonal_questions"]

SKIP_MISSING = 30
"""Lookups: some minutes, at the pace of usual TTLs."""
SKIP_FAILED = 2


@dataclass(slots=True)
class Zonal:
    """What earlier lookups met with, for one zone of one service."""

    skip: int = 0
    """How many lookups to come need not ask."""
    works: bool = False
    """Whether the server had the names the last time."""

    def is_due(self) -> bool:
        """Whether this lookup is to ask."""
        if self.skip > 0:
            self.skip -= 1
            return False
        return True

    def apply(self, zone: str, answer: Answer, replies: Sequence[Reply]) -> Answer:
        """The answer, with the zone of those who are in it."""
        if not answer.endpoints and not answer.unnamed:
            return answer  # where nobody is known, these names are not there either
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
    """Which addresses are in the zone; none where the zone cannot stand in a name, as `a..b` cannot."""
    pinned = f"{zone.lower()}.pin._zone.{name}"  # names know no capital letters, and so compares CoreDNS
    if len(pinned) > 254 or not all(map(DNS_LABEL.fullmatch, zone.lower().split("."))):
        return ()
    return tuple(Question(pinned, RecordType.AAAA if family == 6 else RecordType.A) for family in families)
