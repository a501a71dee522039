"""From the targets of an SRV answer to its pods: missing addresses are asked for, then it is judged. Pure.

Invariants:

* An SRV answer that is not truncated is complete as to which pods there are. A target whose address could
  not be resolved goes into `unresolved`: that speaks of this pod alone, which stays if it is known.
* Addresses that did not come along are asked for: at the service's name for targets made from an address
  (`10-0-0-1`), at the targets' own names for the others. If many are missing in a cluster, the addresses
  of the service are asked first, which confirm the pods that are known.
* A target that proves to have no address is dropped. If it is a known pod, it goes into `gone`: SRV still
  has it, so a second answer has to agree.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping

from peerdiscover.answers import family_of
from peerdiscover.errors import Outcome

from ._answer_builder import Target
from ._queries import QueryMixin
from ._types import Batch, Plan, Reply, ReplyStatus

MAX_OWN_NAMES = 16
"""Above as many pods without address, or missing pods, not each is asked for by its own name."""
_SHOWN = 10
"""How many unresolved targets an answer lists."""


class SrvLookup(QueryMixin):
    """From SRV targets to an answer."""

    def _by_targets(self, srv: Reply, targets: dict[str, Target], number: int | None = None) -> Plan:
        self._builder.count_ttl(srv)
        listed = {target.label for target in targets.values()}
        absent = [label for label in self._known if label not in listed] if srv.truncated else []
        failed = yield from self._fill([t for t in targets.values() if not t.resolved])
        unknown = [t for t in targets.values() if not t.resolved]
        kind = self._builder.kind(targets)
        self._note_unresolved(unknown)
        found = self._builder.endpoints(targets, number)
        if not srv.truncated and found:
            return self._answer(Outcome.RESOLVED, found, kind=kind, failed_families=failed)
        if not srv.truncated and not unknown:
            if self._builder.unresolved:
                return self._builder.all_rejected()
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

    def _fill(self, missing: list[Target]) -> Generator[Batch, list[Reply], frozenset[int]]:
        """Ask for the addresses that did not come along. Returns the families that could not be asked."""
        hosts = [target for target in missing if target.hostname]
        others = [target for target in missing if not target.hostname]
        failed = set[int]()
        many = self._config.in_cluster and len(hosts) > MAX_OWN_NAMES
        if others or many:
            replies = yield from self._ask_addresses(self._name)
            self._confirm(hosts if many else [], others, replies)
            hosts = [target for target in hosts if not target.resolved]
        # Pods that are not known yet go first: the time may end before all were asked.
        hosts.sort(key=lambda target: target.label in self._known)
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

    def _note_unresolved(self, targets: list[Target]) -> None:
        self._builder.unresolved.update(target.dashed or target.label for target in targets)
        for target in targets[:_SHOWN]:
            why = f"SRV {self._name} {target.name}: its address could not be resolved"
            self._builder.dropped[why] = None
        if len(targets) > _SHOWN:
            self._builder.dropped[f"SRV {self._name}: more targets could not be resolved"] = None

    def _drop_target(self, target: Target) -> None:
        self._builder.dropped[f"SRV {self._name} {target.name}: the target has no address"] = None
