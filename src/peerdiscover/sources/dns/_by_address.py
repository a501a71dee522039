"""The pods of A and AAAA answers: who is there, if SRV does not say it all. Pure.

Invariants:

* Known names stay with their addresses. A known name whose address is gone is asked for itself. An address
  that belongs to no known name goes into `unnamed` if names are known; else it is a pod without a hostname.
* The families are judged apart: one that could not be asked is named in `failed_families`.
* Pods without hostnames are of one family (`_answer_builder`). While A cannot be asked, those of IPv6 count
  only if the pods were of IPv6 last time, or if nothing is known yet. Each pod would come in twice otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping

from peerdiscover.answers import Answer, Endpoint, family_of
from peerdiscover.errors import Outcome

from ._answer_builder import Target, one_for_each_pod
from ._by_srv import MAX_OWN_NAMES, SrvLookup
from ._types import Plan, Reply, ReplyStatus

SKIP_SRV = 9
"""How many lookups leave SRV out after it brought nothing."""


class AddressLookup(SrvLookup):
    """From the service's own addresses to an answer."""

    def _by_address(self, number: int, srv: Reply | None, targets: dict[str, Target]) -> Plan:
        replies = yield from self._ask_addresses(self._name)
        if not any(reply.status is ReplyStatus.ANSWER for reply in replies.values()):
            if srv is not None and self._builder.endpoints(targets, number):
                return (yield from self._by_targets(srv, targets, number))
            return self._verdict(replies, srv)
        found = {f: self._builder.accept(self._name, r.addresses, r.server) for f, r in replies.items()}
        if not any(found.values()) and not any(reply.truncated for reply in replies.values()):
            return self._builder.all_rejected()
        for reply in replies.values():
            self._builder.count_ttl(reply)
        if srv is not None and srv.status is ReplyStatus.FAILED:
            self._config.history.srv_failures += 1
        failed = frozenset(f for f, reply in replies.items() if reply.status is ReplyStatus.FAILED)
        cut = {f for f, reply in replies.items() if reply.truncated}
        # What a truncated SRV answer does list is newer than what was known.
        listed = {t.label: t.addresses for t in targets.values() if t.hostname and t.addresses}
        known = {**self._known, **listed} if self._known else {}
        there = {address for some in found.values() for address in some}.union(*listed.values())
        endpoints, absent = self._staying(known, there, failed, cut, number)
        more = yield from self._by_own_names(absent[:MAX_OWN_NAMES], number)
        family = self._plain_family(replies, found)
        if family is None and not endpoints and not more:
            return self._builder.failed(replies[4].error)
        taken = {a for endpoint in (*endpoints, *more) for a in endpoint.addresses}
        rest = [a for a in found.get(family or 0, ()) if a not in taken]
        plain = [Endpoint((address,), number) for address in rest]
        place = {a: i for some in found.values() for i, a in enumerate(some)}
        if not known:
            endpoints, plain = plain, []
            self._remember(srv, family, targets)
        endpoints.sort(key=lambda e: min(place.get(a, len(place)) for a in e.addresses))
        partial = bool(cut) if known else family in cut
        if not endpoints and not more and not plain:
            return self._builder.failed("the answer was truncated before its first address")
        return self._answer(
            Outcome.PARTIAL if partial else Outcome.RESOLVED,
            (*endpoints, *more),
            unnamed=tuple(plain),
            failed_families=failed,
            kind=self._kind_by_address(targets),
        )

    def _staying(
        self,
        known: Mapping[str, tuple[str, ...]],
        there: set[str],
        failed: frozenset[int],
        cut: set[int],
        number: int,
    ) -> tuple[list[Endpoint], list[str]]:
        """Known pods that still have one of their addresses, and the names of those that have none.

        An address stays with its pod if its family could not be asked or was truncated. A pod that has only
        addresses of a family that could not be asked is in neither list.
        """
        endpoints, absent = list[Endpoint](), list[str]()
        for label, addresses in known.items():
            kept = [a for a in addresses if a in there or family_of(a) in failed | cut]
            if there.intersection(kept):
                name = self._own_name(label)
                endpoints += [Endpoint(some, number, label, name) for some in one_for_each_pod(kept)]
            elif not kept or cut.intersection(map(family_of, kept)):
                absent.append(label)
        return endpoints, absent

    def _plain_family(self, replies: Mapping[int, Reply], found: Mapping[int, tuple[str, ...]]) -> int | None:
        """The family of the pods without hostnames; None if that cannot be known now."""
        if len(replies) == 1:
            return next(iter(replies))
        if found[4] or replies[4].truncated:
            return 4
        if replies[4].status is not ReplyStatus.FAILED:
            return 6
        if self._known:
            families = {family_of(a) for addresses in self._known.values() for a in addresses}
            return 6 if families == {6} else None
        return 6 if self._config.history.plain_family in (None, 6) else None

    def _remember(self, srv: Reply | None, family: int | None, targets: dict[str, Target]) -> None:
        history = self._config.history
        history.plain_family = family
        if srv is not None and srv.is_negative:
            history.skip_srv = SKIP_SRV
        if any(target.hostname for target in targets.values()):
            why = "more pods than an SRV answer holds"
            if srv is not None and not srv.truncated:
                why = f"more than {MAX_OWN_NAMES} pods, whose SRV records come without addresses"
            warning = f"{self._name} has {why}: peers are known by address, not by hostname"
            self._builder.warnings[warning] = None

    def _verdict(self, replies: Mapping[int, Reply], srv: Reply | None) -> Answer:
        """No family has addresses: are there no pods, or is it unknown?"""
        failed = [reply for reply in replies.values() if reply.status is ReplyStatus.FAILED]
        errors = "; ".join(dict.fromkeys(f"{r.question.kind.name}: {r.error}" for r in failed))
        if len(failed) == len(replies):
            return self._builder.failed(errors)
        if srv is not None and srv.status is ReplyStatus.ANSWER:
            if self._builder.dropped and not any(srv.glue.values()):
                return self._builder.all_rejected()
            return self._builder.failed("SRV lists pods, but A and AAAA say that there are none")
        negative = [r for r in (*replies.values(), srv) if r is not None and r.is_negative]
        families = frozenset(f for f, r in replies.items() if r.status is ReplyStatus.FAILED)
        return self._builder.negative(negative).replace(failed_families=families, error=errors or None)

    def _kind_by_address(self, targets: Mapping[str, Target]) -> str:
        if targets:
            return self._builder.kind(targets)
        if not self._config.in_cluster:
            return "external"
        return "headless" if self._known else "unknown"
