"""How a plan asks: questions in batches, CNAMEs followed to their end, pods by their own names. Pure.

Invariants:

* A CNAME whose end is not in its message is followed by another question, at most `MAX_HOPS` times. The
  reply then counts as one to the original question, with the lowest TTL on the way.
* If a CNAME leads to another service, the pods' own names are beneath that one.
* A pod whose own name does not exist goes into `_gone`, with the TTL of the replies that said so. It only
  leaves the set if a second answer agrees. A family that could not be asked proves nothing about a pod.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from dataclasses import replace

from peerdiscover.answers import Answer, Endpoint
from peerdiscover.errors import Outcome

from ._answer_builder import AnswerBuilder, LookupConfig, one_for_each_pod, without_service_labels
from ._remembered import remember
from ._types import ADDRESS_TYPES, MAX_HOPS, Batch, Question, RecordType, Reply, ReplyStatus

FAILED = ReplyStatus.FAILED
MAX_FAILURES = 1000
"""Names that are remembered as failing: some are of targets that are gone for good."""
MAX_HALVINGS = 3
"""How often the time for what is never answered is halved, from one lookup to the next."""


class QueryMixin:
    """Asks a lookup's questions. `known`: the pods of the set; a second opinion uses TCP throughout."""

    def __init__(
        self, config: LookupConfig, known: Mapping[str, tuple[str, ...]], *, second_opinion: bool
    ) -> None:
        self._config = config
        self._known = known
        self._second_opinion = second_opinion
        self._name = config.name
        self._service = config.service
        self._parent = config.name
        """The pods' own names are beneath it: the service, or the one that a CNAME leads to."""
        self._builder = AnswerBuilder(config)
        self._failed_families = set[int]()
        """Those that are counted as failed in this lookup."""
        self._gone: dict[str, float | None] = {}
        """Known pods whose own names do not exist, and the TTL of that."""
        self._optional: tuple[Question, ...] = ()
        """To be asked along with the next questions."""
        self._optional_replies: list[Reply] = []

    def _ask(self, batch: Batch) -> Generator[Batch, list[Reply], list[Reply]]:
        """The replies to its questions, with CNAMEs followed to their end."""
        questions, optional, self._optional = batch.questions, self._optional, ()
        if not questions:
            return []
        batch = replace(batch, bypass_cache=batch.bypass_cache or self._second_opinion)
        replies = yield replace(batch, optional=optional)
        if optional:
            replies, self._optional_replies = replies[: len(questions)], replies[len(questions) :]
        for _ in range(MAX_HOPS):
            opened = [i for i, reply in enumerate(replies) if reply.unfinished]
            if not opened:
                break
            onward = tuple(Question(replies[i].canonical, questions[i].kind) for i in opened)
            found = yield replace(batch, questions=onward, time_shares={})
            for i, reply in zip(opened, found, strict=True):
                ttls = [t for t in (replies[i].ttl, reply.ttl) if t is not None]
                ignored = replies[i].ignored + reply.ignored
                replies[i] = replace(
                    reply, question=questions[i], ttl=min(ttls, default=None), ignored=ignored
                )
        for i, reply in enumerate(replies):
            if reply.unfinished:
                replies[i] = Reply.failed(questions[i], f"more than {MAX_HOPS} CNAMEs in a row", reply.asked)
            self._builder.note_reply(replies[i])
            own = without_service_labels(questions[i].name) == self._name
            if own and reply.status is ReplyStatus.ANSWER:
                self._parent = without_service_labels(reply.canonical)
        return replies

    def _ask_srv(
        self, name: str, share: float = 1.0, *, bypass_cache: bool = False
    ) -> Generator[Batch, list[Reply], Reply]:
        question = Question(name, RecordType.SRV)
        (reply,) = yield from self._ask(Batch((question,), share, bypass_cache=bypass_cache))
        return reply

    def _ask_addresses(self, name: str) -> Generator[Batch, list[Reply], dict[int, Reply]]:
        return (yield from self._ask_many([name]))[name]

    def _ask_many(self, names: list[str]) -> Generator[Batch, list[Reply], dict[str, dict[int, Reply]]]:
        """Ask for the addresses of these names. Returns the replies of each, by family."""
        failures = self._config.history.failures
        shares = dict[Question, float]()
        for name in names:
            for family in self._config.families:
                failed = max(failures.get(family, 0), failures.get(name, 0))
                shares[Question(name, ADDRESS_TYPES[family])] = 0.5 ** min(failed, MAX_HALVINGS)
        less = {question: share for question, share in shares.items() if share < 1}
        replies = yield from self._ask(Batch(tuple(shares), time_shares=less))
        by_name: dict[str, dict[int, Reply]] = {name: {} for name in names}
        for reply in replies:
            by_name[reply.question.name][4 if reply.question.kind is RecordType.A else 6] = reply
        self._remember_failures(by_name)
        return by_name

    def _remember_failures(self, by_name: dict[str, dict[int, Reply]]) -> None:
        """What was not answered while something else was gets less time in the next lookup."""
        failures = self._config.history.failures
        answered = {f for some in by_name.values() for f, r in some.items() if r.status is not FAILED}
        if not answered:
            return
        for name, replies in by_name.items():
            if all(reply.status is FAILED for reply in replies.values()):
                remember(failures, name, failures.get(name, 0) + 1, MAX_FAILURES)
            else:
                failures.pop(name, None)
        for family in self._config.families:
            if family in answered:
                failures.pop(family, None)
            elif family not in self._failed_families:
                self._failed_families.add(family)
                failures[family] = failures.get(family, 0) + 1
            if failures.get(family, 0) > 1:
                self._builder.warnings[
                    f"{ADDRESS_TYPES[family].name} questions for {self._name} fail in each lookup: if pods "
                    f'have no IPv{family} addresses, DNS(family="ipv{10 - family}") leaves them out'
                ] = None

    # Single pods

    def _by_own_names(
        self, labels: list[str], port: int | None
    ) -> Generator[Batch, list[Reply], list[Endpoint]]:
        """Ask for known pods by their own names. Returns those that are there; the others go into `_gone`."""
        names = {label: self._own_name(label) for label in labels}
        by_name = yield from self._ask_many(list(names.values()))
        endpoints = list[Endpoint]()
        for label, name in names.items():
            addresses, resolved = self._addresses(name, by_name[name])
            if addresses and port is not None:
                endpoints += [Endpoint(some, port, label, name) for some in one_for_each_pod(addresses)]
            elif self._config.in_cluster and self._config.any_target and "." in label:
                continue  # a target elsewhere, perhaps, of which it says nothing what is beneath the service
            elif resolved and not any(r.status is ReplyStatus.ANSWER for r in by_name[name].values()):
                self._is_gone(label, by_name[name])
        return endpoints

    def _own_name(self, label: str) -> str:
        outside = not self._config.in_cluster and "." in label
        return f"{label}." if outside else f"{label}.{self._parent}"

    def _addresses(self, name: str, replies: Mapping[int, Reply]) -> tuple[tuple[str, ...], bool]:
        """The accepted addresses of one pod, and whether that is settled: found, or proven to have none."""
        addresses = tuple(
            a for r in replies.values() for a in self._builder.accept(name, r.addresses, r.server)
        )
        replied = all(reply.status is not FAILED for reply in replies.values())
        absent = any(reply.status is ReplyStatus.NXDOMAIN for reply in replies.values())
        return addresses, replied or absent or bool(addresses)

    def _is_gone(self, label: str, replies: Mapping[int, Reply]) -> None:
        """Remember that these replies deny the pod."""
        ttls = [reply.ttl for reply in replies.values() if reply.ttl is not None]
        self._gone[label] = max(ttls, default=None)

    def _answer(self, outcome: Outcome, endpoints: Iterable[Endpoint], **rest: object) -> Answer:
        """The answer, with the pods whose names are gone."""
        ttls = [ttl for ttl in self._gone.values() if ttl is not None]
        gone = {"gone": frozenset(self._gone), "gone_ttl": max(ttls, default=None)}
        unresolved = frozenset(self._builder.unresolved)
        return self._builder.answer(outcome, endpoints, **gone, unresolved=unresolved, **rest)
