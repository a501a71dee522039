"""How a plan asks: questions in batches, CNAMEs followed to their end, every reply noted. Pure.

Invariants:

* A plan yields a batch and is sent its replies; see `_lookup`.
* A CNAME whose end is not in its message is followed by another question, at most `MAX_HOPS` times. The
  reply then counts as one to the original question, with the lowest TTL on the way.
* If a CNAME leads to another service, the pods' own names are beneath that one.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace

from ._records import AnswerBuilder, LookupConfig, without_service_labels
from ._types import MAX_HOPS, Batch, Question, RecordType, Reply, ReplyStatus

__all__ = ["QueryMixin"]

Replies = Generator[Batch, list[Reply], list[Reply]]

_KINDS = {4: RecordType.A, 6: RecordType.AAAA}


class QueryMixin:
    """Asks a lookup's questions. A second opinion uses TCP throughout."""

    def __init__(self, config: LookupConfig, *, second_opinion: bool) -> None:
        self._config = config
        self._second_opinion = second_opinion
        self._parent = config.name
        """The pods' own names are beneath it: the service, or the one that a CNAME leads to."""
        self._builder = AnswerBuilder(config)
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
        families = self._config.families
        replies = yield from self._ask([Question(n, _KINDS[f]) for n in names for f in families])
        by_name: dict[str, dict[int, Reply]] = {name: {} for name in names}
        for reply in replies:
            family = 4 if reply.question.kind is RecordType.A else 6
            by_name[reply.question.name][family] = reply
        return by_name

    def _ask(
        self,
        questions: list[Question],
        share: float = 1.0,
        *,
        limit: float = float("inf"),
        bypass_cache: bool = False,
    ) -> Replies:
        """The replies, with CNAMEs followed to their end."""
        if not questions:
            return []
        bypass_cache = bypass_cache or self._second_opinion
        optional, self._optional = self._optional, ()
        replies = yield Batch(tuple(questions), share, limit, bypass_cache, optional)
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
