"""From the targets of an SRV answer to its pods: missing addresses are asked for, then it is judged. Pure.

Invariants:

* An SRV answer is complete if it is not truncated and each of its targets has an address.
* Addresses that did not come along are asked for: at the service's name for targets made of an address
  (`10-0-0-1`), at the targets' own names for at most 16 others.
* A target that proves to have no address is dropped. If it is a known pod, it goes into `gone`: SRV still
  has it, so a second answer has to agree. One that could not be asked makes the answer partial.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping

from peerdiscover.answers import family_of
from peerdiscover.errors import Outcome

from ._own_names import OwnNameQueries
from ._records import Target
from ._types import Batch, Plan, Reply, ReplyStatus

__all__ = ["MAX_OWN_NAMES", "SrvLookup"]

MAX_OWN_NAMES = 16
"""How many pods are asked for by their own names in one lookup."""


class SrvLookup(OwnNameQueries):
    """From SRV targets to an answer."""

    def _by_targets(self, srv: Reply, targets: dict[str, Target], number: int | None = None) -> Plan:
        self._builder.count_ttl(srv)
        listed = {target.label for target in targets.values()}
        absent = [label for label in self._known if label not in listed] if srv.truncated else []
        limit = MAX_OWN_NAMES // 2 if absent else MAX_OWN_NAMES
        failed = yield from self._fill([t for t in targets.values() if not t.resolved], limit)
        unknown = [t for t in targets.values() if not t.resolved]
        kind = self._builder.kind(targets)
        found = self._builder.endpoints(targets, number)
        if not srv.truncated and not unknown:
            if found:
                return self._answer(Outcome.RESOLVED, found, kind=kind, failed_families=failed)
            if self._builder.dropped and any(not t.addresses for t in targets.values()):
                return self._builder.all_rejected()
            if any(srv.glue.values()) and self._config.family != "any":
                return self._builder.answer(Outcome.EMPTY, kind=kind)  # all have the other family only
            return self._builder.failed("SRV lists pods, but none of them has an address")
        ports = {port for target in targets.values() for port in target.ports}
        only = number if number is not None else ports.pop() if len(ports) == 1 else None
        found += yield from self._by_own_names(absent[: MAX_OWN_NAMES // 2], only)
        if not found:
            count = f"{len(unknown)} pods" if unknown else "no pods"
            return self._builder.failed(f"SRV lists {count}, and their addresses could not be resolved")
        return self._answer(Outcome.PARTIAL, found, kind=kind, ordered=True, failed_families=failed)

    def _fill(self, missing: list[Target], limit: int) -> Generator[Batch, list[Reply], frozenset[int]]:
        """Ask for the addresses that did not come along. Returns the families that could not be asked."""
        hosts = [target for target in missing if target.hostname]
        others = [target for target in missing if not target.hostname]
        failed = set[int]()
        if others or len(hosts) > MAX_OWN_NAMES:
            replies = yield from self._ask_addresses(self._name)
            self._confirm(hosts if len(hosts) > MAX_OWN_NAMES else [], others, replies)
            hosts = [target for target in hosts if not target.resolved]
            # Pods that are not known yet go first, so that a large set grows with each lookup.
            hosts.sort(key=lambda target: target.label in self._known)
        hosts = hosts[:limit]
        by_name = yield from self._ask_many([target.name for target in hosts])
        for target in hosts:
            replies = by_name[target.name]
            addresses, resolved = self._addresses(target.name, replies)
            target.addresses, target.resolved = addresses, resolved
            if addresses:
                failed |= {f for f, reply in replies.items() if reply.status is ReplyStatus.FAILED}
            elif resolved:
                self._drop_target(target)
                if target.label in self._known:
                    self._is_gone(target.label, replies)
        return frozenset(failed)

    def _confirm(self, hosts: list[Target], others: list[Target], replies: Mapping[int, Reply]) -> None:
        """Fill in what the addresses of the service itself say about its targets."""
        found = {f: self._builder.accept(self._name, r.addresses, r.server) for f, r in replies.items()}
        everything = {address for some in found.values() for address in some}
        for target in others:
            address = target.dashed
            families = [family_of(address)] if address else list(replies)
            expected = {address} if address else everything
            target.addresses = tuple(a for some in found.values() for a in some if a in expected)
            asked = [replies[family] for family in families if family in replies]
            target.resolved = bool(target.addresses) or all(
                reply.status is not ReplyStatus.FAILED and not reply.truncated for reply in asked
            )
            if target.resolved and not target.addresses and asked:
                self._drop_target(target)
        for target in hosts:
            target.addresses = tuple(a for a in self._known.get(target.label, ()) if a in everything)
            target.resolved = bool(target.addresses)
        for reply in replies.values():
            self._builder.count_ttl(reply)

    def _drop_target(self, target: Target) -> None:
        self._builder.dropped[f"SRV {self._name} {target.name}: the target has no address"] = None
