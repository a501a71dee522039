"""The plan of questions of one DNS lookup: what is asked, in which order, and what follows from it. Pure.

A plan is a generator. It yields batches of questions, is sent the replies, and returns the answer.

the port        | what is asked
----------------|---------------------------------------------------------------------------------------
a name          | SRV of `_port._proto.NAME`. Nothing else can tell the port: a failure is one
a number        | SRV of NAME, for hostnames, in half of the time. Where it is complete it says all. Where
                | it fails, is cut short or is not served, A and AAAA of NAME say who is there
none            | SRV of NAME, which must tell one port a pod

Rules of this room:

* Complete is an SRV answer that is not cut short and has an address for each target. Addresses that
  did not come along are asked for: of NAME for targets made of an address, of the targets themselves
  when they are at most 16. A target that is said to have none is dropped, and in `gone` where it is
  known: SRV has it, and a second answer has to agree. One that could not be asked makes the answer
  partial, so that its pod stays.
* "Not found" needs SRV (where it was asked), A and AAAA to agree. A and AAAA are judged apart: a
  family that could not be asked is named in `failed_families`.
* By A and AAAA, names that are known stay with their addresses. A known name whose address is gone is
  asked for itself. An address that belongs to no known name goes into `unnamed` where names are
  known; else it is a pod without a hostname.
* Pods without hostnames are of one family (see `_records`). Where A could not be asked, those of
  IPv6 count only if the pods were of IPv6 last time, or nothing is known yet: else each pod would
  come in a second time.
* What the user is told to change (which port?) is said only when a second question over TCP agrees.
* Where the own zone is known, who is in it is asked beside the first question (see `_zonal`).
* A second opinion is asked for over TCP throughout. If it is "not found" a hint is looked for, in at
  most three more questions.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping

from peerdiscover.answers import Answer, Endpoint, LookupRequest, family_of
from peerdiscover.errors import Outcome

from . import _hints
from ._queries import QueryMixin
from ._records import LookupConfig, Target
from ._types import Batch, Reply, ReplyStatus
from ._zonal import Zonal, zonal_questions

__all__ = ["OWN_NAMES", "plan_lookup"]

Steps = Generator[Batch, list[Reply], Answer]

OWN_NAMES = 16
"""How many pods are asked for by their own names in one lookup."""
SKIP_SRV = 9
"""For how many lookups SRV is not asked for again where it brought nothing."""
SRV_SHARE = 0.5
"""The part of the time that SRV may use where A can still serve; less of it where it failed last time."""
HINT_SECONDS = 1.0


def plan_lookup(ask: LookupRequest, config: LookupConfig) -> Steps:
    """The plan for one question to the source."""
    return Lookup(ask, config).run()


class Lookup(QueryMixin):
    def __init__(self, ask: LookupRequest, config: LookupConfig) -> None:
        super().__init__(config, second_opinion=ask.second_opinion)
        self._known: Mapping[str, tuple[str, ...]] = ask.known
        self._zone = ask.zone
        self._service = config.service
        self._name = config.name
        self._gone: dict[str, float | None] = {}
        """Known pods whose own names are not there, and for how long that holds."""

    def run(self) -> Steps:
        if self._zone is None or self._second_opinion or not self._config.in_cluster:
            return (yield from self._lookup())
        zonal = self._config.history.zonal.setdefault(self._zone, Zonal())
        if zonal.is_due():
            self._optional = zonal_questions(self._zone, self._name, self._config.families)
        answer = yield from self._lookup()
        return zonal.apply(self._zone, answer, self._optional_replies) if self._optional_replies else answer

    def _lookup(self) -> Steps:
        port = self._service.port
        if isinstance(port, int):
            answer = yield from self._numeric(port)
        elif port is None:
            answer = yield from self._bare()
        else:
            answer = yield from self._named(port)
        if self._second_opinion and answer.outcome is Outcome.NOT_FOUND:
            questions = _hints.hint_questions(self._config)
            replies = yield from self._ask(questions, limit=HINT_SECONDS)
            return answer.replace(hint=_hints.hint(self._config, replies))
        return answer

    # The three ways

    def _named(self, port: str) -> Steps:
        srv = yield from self._ask_srv(f"_{port}._{self._service.protocol}.{self._name}")
        if srv.status is ReplyStatus.FAILED:
            return self._builder.failed(srv.error)
        if srv.is_negative:
            return self._builder.negative([srv])
        targets = self._builder.targets(srv)
        if not targets and not srv.truncated:
            return self._builder.all_rejected()
        return (yield from self._by_targets(srv, targets))

    def _numeric(self, number: int) -> Steps:
        history = self._config.history
        if history.skip_srv > 0 and not self._known and not self._second_opinion:
            history.skip_srv -= 1
            return (yield from self._by_address(number, None, {}))
        srv = yield from self._ask_srv(self._name, SRV_SHARE / 2 ** min(history.srv_failures, 2))
        history.skip_srv = 0
        if srv.status is not ReplyStatus.FAILED:
            history.srv_failures = 0
        targets = self._builder.targets(srv)
        self._builder.compare_ports(number, targets)
        missing = [t for t in targets.values() if not t.resolved and t.hostname]
        if targets and not srv.truncated and len(missing) <= OWN_NAMES:
            return (yield from self._by_targets(srv, targets, number))
        return (yield from self._by_address(number, srv, targets))

    def _bare(self) -> Steps:
        srv = yield from self._ask_srv(self._name)
        if srv.status is ReplyStatus.FAILED:
            return self._builder.failed(srv.error)
        targets = self._builder.targets(srv)
        if srv.is_negative:
            replies = yield from self._ask_addresses(self._name)
            if not any(reply.status is ReplyStatus.ANSWER for reply in replies.values()):
                return self._verdict(replies, srv)
        if srv.is_negative or _ambiguous(targets):
            srv = yield from self._ask_srv(self._name, bypass_cache=True)
            targets = self._builder.targets(srv)
            if srv.status is ReplyStatus.FAILED:
                return self._builder.failed(f"which port is meant could not be confirmed: {srv.error}")
            if srv.is_negative:
                return self._builder.failed(self._builder.no_ports_error())
            if ports := _ambiguous(targets):
                return self._builder.failed(self._builder.several_ports_error(ports))
        if not targets and not srv.truncated:
            return self._builder.all_rejected()
        return (yield from self._by_targets(srv, targets))

    # By SRV

    def _by_targets(self, srv: Reply, targets: dict[str, Target], number: int | None = None) -> Steps:
        self._builder.count_ttl(srv)
        listed = {target.label for target in targets.values()}
        absent = [label for label in self._known if label not in listed] if srv.truncated else []
        room = OWN_NAMES // 2 if absent else OWN_NAMES
        failed = yield from self._fill([t for t in targets.values() if not t.resolved], room)
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
            return self._builder.failed("SRV names pods, but none of them has an address")
        ports = {port for target in targets.values() for port in target.ports}
        only = number if number is not None else ports.pop() if len(ports) == 1 else None
        found += yield from self._by_own_names(absent[: OWN_NAMES // 2], only)
        if not found:
            names = f"{len(unknown)} pods" if unknown else "nobody"
            return self._builder.failed(f"SRV names {names}, and their addresses are not to be had")
        return self._answer(Outcome.PARTIAL, found, kind=kind, ordered=True, failed_families=failed)

    def _fill(self, missing: list[Target], room: int) -> Generator[Batch, list[Reply], frozenset[int]]:
        """Ask for addresses that did not come along. Returns the families that could not be asked."""
        hosts = [target for target in missing if target.hostname]
        others = [target for target in missing if not target.hostname]
        failed = set[int]()
        if others or len(hosts) > OWN_NAMES:
            replies = yield from self._ask_addresses(self._name)
            self._confirm(hosts if len(hosts) > OWN_NAMES else [], others, replies)
            hosts = [target for target in hosts if not target.resolved]
            # Those that nobody knows yet go first, so that a large set grows with each lookup.
            hosts.sort(key=lambda target: target.label in self._known)
        hosts = hosts[:room]
        by_name = yield from self._ask_many([target.name for target in hosts])
        for target in hosts:
            replies = by_name[target.name]
            addresses, told = self._addresses(target.name, replies)
            target.addresses, target.resolved = addresses, told
            if addresses:
                failed |= {f for f, reply in replies.items() if reply.status is ReplyStatus.FAILED}
            elif told:
                self._drop_target(target)
                if target.label in self._known:
                    self._is_gone(target.label, replies)
        return frozenset(failed)

    def _confirm(self, hosts: list[Target], others: list[Target], replies: Mapping[int, Reply]) -> None:
        """Fill in what the addresses of the service itself tell about its targets."""
        found = {f: self._builder.accept(self._name, r.addresses, r.server) for f, r in replies.items()}
        everything = {address for some in found.values() for address in some}
        for target in others:
            address = target.dashed
            families = [family_of(address)] if address else list(replies)
            wanted = {address} if address else everything
            target.addresses = tuple(a for some in found.values() for a in some if a in wanted)
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

    # By A and AAAA

    def _by_address(self, number: int, srv: Reply | None, targets: dict[str, Target]) -> Steps:
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
        # What SRV told of the pods before it was cut goes before what was known.
        told = {t.label: t.addresses for t in targets.values() if t.hostname and t.addresses}
        known = {**self._known, **told} if self._known else {}
        there = {address for some in found.values() for address in some}.union(*told.values())
        endpoints, absent = self._staying(known, there, failed, cut, number)
        more = yield from self._by_own_names(absent[:OWN_NAMES], number)
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
            return self._builder.failed("the answer was cut short before the first address")
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
        """Known pods that are still at an address of theirs, and the names of those that are not.

        Addresses of which nothing was said, since their family could not be asked or was cut short, stay
        with their pod. One that has only such of a family that could not be asked is in neither list.
        """
        endpoints, absent = list[Endpoint](), list[str]()
        for label, addresses in known.items():
            kept = [a for a in addresses if a in there or family_of(a) in failed | cut]
            if there.intersection(kept):
                endpoints += self._builder.pods(kept, number, label, self._own_name(label))
            elif not kept or cut.intersection(map(family_of, kept)):
                absent.append(label)
        return endpoints, absent

    def _plain_family(self, replies: Mapping[int, Reply], found: Mapping[int, tuple[str, ...]]) -> int | None:
        """Of which family the pods without hostnames are taken; None: it cannot be told now."""
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
            self._builder.warnings[
                f"{self._name} has more pods than an SRV answer holds: they are known by address, "
                "not by hostname"
            ] = None

    def _by_own_names(
        self, labels: list[str], port: int | None
    ) -> Generator[Batch, list[Reply], list[Endpoint]]:
        """Ask for known pods by their own names. Returns those found; the others go into `_gone`."""
        names = {label: self._own_name(label) for label in labels}
        by_name = yield from self._ask_many(list(names.values()))
        endpoints = list[Endpoint]()
        for label, name in names.items():
            addresses, told = self._addresses(name, by_name[name])
            if addresses and port is not None:
                endpoints += self._builder.pods(addresses, port, label, name)
            elif told and not any(r.status is ReplyStatus.ANSWER for r in by_name[name].values()):
                self._is_gone(label, by_name[name])
        return endpoints

    def _is_gone(self, label: str, replies: Mapping[int, Reply]) -> None:
        """Those replies say that there is no such pod."""
        ttls = [reply.ttl for reply in replies.values() if reply.ttl is not None]
        self._gone[label] = max(ttls, default=None)

    def _answer(self, outcome: Outcome, endpoints: Iterable[Endpoint], **rest: object) -> Answer:
        """The answer, with the names that are not there."""
        ttls = [ttl for ttl in self._gone.values() if ttl is not None]
        gone = {"gone": frozenset(self._gone), "gone_ttl": max(ttls, default=None)}
        return self._builder.answer(outcome, endpoints, **gone, **rest)

    def _own_name(self, label: str) -> str:
        return f"{label}." if "." in label else f"{label}.{self._parent}"

    def _addresses(self, name: str, replies: Mapping[int, Reply]) -> tuple[tuple[str, ...], bool]:
        """The believed addresses of one pod, and whether the servers told all there is."""
        addresses = tuple(
            a for r in replies.values() for a in self._builder.accept(name, r.addresses, r.server)
        )
        told = all(reply.status is not ReplyStatus.FAILED for reply in replies.values())
        absent = any(reply.status is ReplyStatus.NXDOMAIN for reply in replies.values())
        return addresses, told or absent or bool(addresses)

    # Verdicts

    def _verdict(self, replies: Mapping[int, Reply], srv: Reply | None) -> Answer:
        """No family has addresses: is nobody there, or is it unknown?"""
        failed = [reply for reply in replies.values() if reply.status is ReplyStatus.FAILED]
        errors = "; ".join(dict.fromkeys(f"{r.question.kind.name}: {r.error}" for r in failed))
        if len(failed) == len(replies):
            return self._builder.failed(errors)
        if srv is not None and srv.status is ReplyStatus.ANSWER:
            if self._builder.dropped and not any(srv.glue.values()):
                return self._builder.all_rejected()
            return self._builder.failed("SRV names pods, while A and AAAA say that nobody is there")
        said = [r for r in (*replies.values(), srv) if r is not None and r.is_negative]
        families = frozenset(f for f, r in replies.items() if r.status is ReplyStatus.FAILED)
        return self._builder.negative(said).replace(failed_families=families, error=errors or None)

    def _kind_by_address(self, targets: Mapping[str, Target]) -> str:
        if targets:
            return self._builder.kind(targets)
        if not self._config.in_cluster:
            return "external"
        return "headless" if self._known else "unknown"


def _ambiguous(targets: Mapping[str, Target]) -> list[int]:
    """The ports of a target that has several; empty where each has one."""
    if all(len(target.ports) <= 1 for target in targets.values()):
        return []
    return sorted({port for target in targets.values() for port in target.ports})
