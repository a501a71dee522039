"""The plan of one DNS lookup: what is asked, in which order, and what follows from it. Pure.

A plan is a generator. It yields batches of questions, is sent the replies, and returns the answer.

the port  | what is asked
----------|---------------------------------------------------------------------------------------
a name    | SRV of `_port._proto.NAME`. Nothing else knows the port, so a failure of SRV is a failure
a number  | SRV of NAME, for the hostnames, in half of the time. If it is complete, it says it all. If
          | it fails, is truncated or is not served, A and AAAA of NAME say who is there
none      | SRV of NAME, which must say one port for each pod

Invariants:

* "Not found" needs SRV (if it was asked), A and AAAA to agree.
* An error that asks the user for a change (which port?) needs a second question over TCP to agree.
* If the local zone is known, the pods in it are asked for beside the first question (see `_zonal`).
* A second opinion uses TCP throughout. If it is "not found", a few more questions look for a hint.
"""

from __future__ import annotations

from collections.abc import Mapping

from peerdiscover.answers import LookupRequest
from peerdiscover.errors import ConfigurationError, Outcome

from . import _hints
from ._answer_builder import LookupConfig, Target
from ._by_address import AddressLookup
from ._by_srv import MAX_OWN_NAMES
from ._target_rules import is_not_offered
from ._types import Batch, Plan, ReplyStatus
from ._zonal import Zonal, zonal_questions

SRV_SHARE = 0.5
"""The part of the time that SRV may use if A can still serve. It shrinks while SRV fails."""
HINT_TIMEOUT = 1.0


def plan_lookup(request: LookupRequest, config: LookupConfig) -> Plan:
    return Lookup(config, request.known, second_opinion=request.second_opinion).run(request.zone)


class Lookup(AddressLookup):
    """One lookup, from the request to the answer."""

    def run(self, zone: str | None) -> Plan:
        """The plan. `zone`: the local one, if it is known."""
        if zone is None or self._second_opinion or not self._config.in_cluster:
            return (yield from self._lookup())
        zonal = self._config.history.zonal.setdefault(zone, Zonal())
        if zonal.is_due():
            self._optional = zonal_questions(zone, self._name, self._config.families)
        answer = yield from self._lookup()
        return zonal.apply(zone, answer, self._optional_replies) if self._optional_replies else answer

    def _lookup(self) -> Plan:
        port = self._service.port
        if isinstance(port, int):
            answer = yield from self._numeric(port)
        elif port is None:
            answer = yield from self._bare()
        else:
            answer = yield from self._named(port)
        has_no_port = answer.outcome is Outcome.EMPTY and isinstance(port, str)
        if self._second_opinion and (answer.outcome is Outcome.NOT_FOUND or has_no_port):
            questions = tuple(_hints.hint_questions(self._config))
            replies = yield from self._ask(Batch(questions, limit=HINT_TIMEOUT))
            return answer.replace(hint=answer.hint or _hints.hint(self._config, replies))
        return answer

    def _named(self, port: str) -> Plan:
        srv = yield from self._ask_srv(f"_{port}._{self._service.protocol}.{self._name}")
        if srv.status is ReplyStatus.FAILED:
            return self._builder.failed(srv.error)
        if is_not_offered(srv):
            return self._builder.not_offered(srv)
        if srv.is_negative:
            return self._builder.negative([srv])
        targets = self._builder.targets(srv)
        if not targets and not srv.truncated:
            return self._builder.all_rejected()
        return (yield from self._by_targets(srv, targets))

    def _numeric(self, number: int) -> Plan:
        history = self._config.history
        if history.skip_srv > 0 and not self._known and not self._second_opinion:
            history.skip_srv -= 1
            return (yield from self._by_address(number, None, {}))
        srv = yield from self._ask_srv(self._name, SRV_SHARE / 2 ** min(history.srv_failures, 2))
        history.skip_srv = 0
        if is_not_offered(srv):
            return self._builder.not_offered(srv)
        if srv.status is not ReplyStatus.FAILED:
            history.srv_failures = 0
        targets = self._builder.targets(srv)
        self._builder.compare_ports(number, targets)
        missing = [t for t in targets.values() if not t.resolved and t.hostname]
        few = len(missing) <= MAX_OWN_NAMES or not self._config.in_cluster
        if targets and not srv.truncated and few:
            return (yield from self._by_targets(srv, targets, number))
        return (yield from self._by_address(number, srv, targets))

    def _bare(self) -> Plan:
        srv = yield from self._ask_srv(self._name)
        if srv.status is ReplyStatus.FAILED:
            return self._builder.failed(srv.error)
        if is_not_offered(srv):
            return self._builder.not_offered(srv)
        targets = self._builder.targets(srv)
        if srv.is_negative:
            replies = yield from self._ask_addresses(self._name)
            if not any(reply.status is ReplyStatus.ANSWER for reply in replies.values()):
                return self._verdict(replies, srv)
        if srv.is_negative or self._ambiguous(targets):
            srv = yield from self._ask_srv(self._name, bypass_cache=True)
            targets = self._builder.targets(srv)
            if srv.status is ReplyStatus.FAILED:
                return self._builder.failed(f"which port to use could not be confirmed: {srv.error}")
            if srv.is_negative:
                why = f"{self._name} has no SRV records, so its port is unknown: write it, such as"
                return self._builder.failed(
                    ConfigurationError(f"{self._service}: {why} {self._service}:8080")
                )
            if ports := self._ambiguous(targets):
                examples = " or ".join(f"{self._service}:{port}" for port in ports[:2])
                why = f"has several ports ({', '.join(map(str, ports))}): write one, {examples}"
                return self._builder.failed(ConfigurationError(f"{self._service} {why}"))
        if not targets and not srv.truncated:
            return self._builder.all_rejected()
        return (yield from self._by_targets(srv, targets))

    def _ambiguous(self, targets: Mapping[str, Target]) -> list[int]:
        """All ports, if a pod has several. Outside of a cluster each SRV record is an instance of its own."""
        if not self._config.in_cluster or all(len(target.ports) <= 1 for target in targets.values()):
            return []
        return sorted({port for target in targets.values() for port in target.ports})
