"""How a plan asks: questions in batches, CNAMEs followed to their end, every reply noted. Pure.

Invariants:

* A plan yields a batch and is sent its replies; see `_lookup`.
* A CNAME whose end is not in its message is followed by another question, at most `MAX_HOPS` times. The
  reply then counts as one to the original question, with the lowest TTL on the way.
* If a CNAME leads to another service, the pods' own names are beneath that one.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import replace

from ._answer_builder import AnswerBuilder, LookupConfig, without_service_labels
from ._types import MAX_HOPS, Batch, Question, RecordType, Reply, ReplyStatus

Replies = Generator[Batch, list[Reply], list[Reply]]

_KINDS = {4: RecordType.A, 6: RecordType.AAAA}
FAILED = ReplyStatus.FAILED
MAX_FAILURES = 1000
MAX_HALVINGS = 3
"""How often the time for what is never answered is halved, from one lookup to the next."""


class QueryMixin:
    """Asks a lookup's questions. A second opinion uses TCP throughout."""

    def __init__(self, config: LookupConfig, *, second_opinion: bool) -> None:
        self._config = config
        self._second_opinion = second_opinion
        self._parent = config.name
        """The pods' own names are beneath it: the service, or the one that a CNAME leads to."""
        self._builder = AnswerBuilder(config)
        self._failed_families = set[int]()
        """Those that are counted as failed in this lookup."""
        self._optional: tuple[Question, ...] = ()
        """To be asked along with the next questions."""
        self._optional_replies: list[Reply] = []
        """The replies to those."""

    def _ask_srv(
        self, name: str, share: float = 1.0, *, bypass_cache: bool = False
    ) -> Generator[Batch, list[Reply], Reply]:
        (reply,) = yield from self._ask([Question(name, RecordType.SRV)], share, bypass_cache=bypass_cache)
        return reply

    def _ask_addresses(self, name: str) -> Generator[Batch, list[Reply], dict[int, Reply]]:
        return (yield from self._ask_many([name]))[name]

    def _ask_many(self, names: list[str]) -> Generator[Batch, list[Reply], dict[str, dict[int, Reply]]]:
        """Ask for the addresses of these names. Returns the replies of each, by family."""
        families, failures = self._config.families, self._config.history.failures
        shares = dict[Question, float]()
        for name in names:
            for family in families:
                failed = max(failures.get(family, 0), failures.get(name, 0))
                if failed:
                    shares[Question(name, _KINDS[family])] = 0.5 ** min(failed, MAX_HALVINGS)
        questions = [Question(n, _KINDS[f]) for n in names for f in families]
        replies = yield from self._ask(questions, time_shares=shares)
        by_name: dict[str, dict[int, Reply]] = {name: {} for name in names}
        for reply in replies:
            family = 4 if reply.question.kind is RecordType.A else 6
            by_name[reply.question.name][family] = reply
        self._remember_failures(by_name)
        return by_name

    def _remember_failures(self, by_name: dict[str, dict[int, Reply]]) -> None:
        """What was not answered while something else was gets less time in the next lookup."""
        families, failures = self._config.families, self._config.history.failures
        answered = {f for some in by_name.values() for f, r in some.items() if r.status is not FAILED}
        if not answered:
            return
        for name, replies in by_name.items():
            if all(reply.status is FAILED for reply in replies.values()):
                failures[name] = failures.pop(name, 0) + 1
                if len(failures) > MAX_FAILURES:  # targets that are gone for good
                    failures.pop(next(iter(failures)))
            else:
                failures.pop(name, None)
        for family in families:
            if family in answered:
                failures.pop(family, None)
            elif family not in self._failed_families:
                self._failed_families.add(family)
                failures[family] = failures.get(family, 0) + 1
            if failures.get(family, 0) > 1:
                self._builder.warnings[
                    f"{_KINDS[family].name} questions for {self._config.name} fail in each lookup: if pods "
                    f'have no IPv{family} addresses, DNS(family="ipv{10 - family}") leaves them out'
                ] = None

    def _ask(
        self,
        questions: list[Question],
        share: float = 1.0,
        *,
        limit: float = float("inf"),
        bypass_cache: bool = False,
        time_shares: Mapping[Question, float] | None = None,
    ) -> Replies:
        """The replies, with CNAMEs followed to their end."""
        if not questions:
            return []
        bypass_cache = bypass_cache or self._second_opinion
        optional, self._optional = self._optional, ()
        replies = yield Batch(tuple(questions), share, limit, bypass_cache, optional, time_shares or {})
        if optional:
            replies, self._optional_replies = replies[: len(questions)], replies[len(questions) :]
        for _ in range(MAX_HOPS):
            opened = [i for i, reply in enumerate(replies) if reply.unfinished]
            if not opened:
                break
            onward = tuple(Question(replies[i].canonical, replies[i].question.kind) for i in opened)
            for i, reply in zip(opened, (yield Batch(onward, share, limit, bypass_cache)), strict=True):
                ttls = [t for t in (replies[i].ttl, reply.ttl) if t is not None]
                ignored = replies[i].ignored + reply.ignored
                replies[i] = replace(
                    reply, question=questions[i], ttl=min(ttls, default=None), ignored=ignored
                )
        for i, reply in enumerate(replies):
            if reply.unfinished:
                replies[i] = Reply.failed(questions[i], f"more than {MAX_HOPS} CNAMEs in a row", reply.asked)
            self._builder.note_reply(replies[i])
            if (
                reply.status is ReplyStatus.ANSWER
                and without_service_labels(questions[i].name) == self._config.name
            ):
                self._parent = without_service_labels(reply.canonical)
        return replies
