"""Questions about single pods: is a known pod still there, and where? Pure.

Invariants:

* A pod whose own name does not exist goes into `_gone`, with the TTL of the replies that said so. It only
  leaves the set if a second answer agrees.
* A family that could not be asked proves nothing about a pod.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping

from peerdiscover.answers import Answer, Endpoint
from peerdiscover.errors import Outcome

from ._answer_builder import LookupConfig
from ._queries import QueryMixin
from ._types import Batch, Reply, ReplyStatus


class OwnNameQueries(QueryMixin):
    """Asks for pods by their own names, and remembers which are gone."""

    def __init__(
        self, config: LookupConfig, known: Mapping[str, tuple[str, ...]], *, second_opinion: bool
    ) -> None:
        super().__init__(config, second_opinion=second_opinion)
        self._known = known
        self._name = config.name
        self._gone: dict[str, float | None] = {}
        """Known pods whose own names do not exist, and the TTL of that."""

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
                endpoints += self._builder.pods(addresses, port, label, name)
            elif resolved and not any(r.status is ReplyStatus.ANSWER for r in by_name[name].values()):
                self._is_gone(label, by_name[name])
        return endpoints

    def _is_gone(self, label: str, replies: Mapping[int, Reply]) -> None:
        """Remember that these replies deny the pod."""
        ttls = [reply.ttl for reply in replies.values() if reply.ttl is not None]
        self._gone[label] = max(ttls, default=None)

    def _answer(self, outcome: Outcome, endpoints: Iterable[Endpoint], **rest: object) -> Answer:
        """The answer, with the pods whose names are gone."""
        ttls = [ttl for ttl in self._gone.values() if ttl is not None]
        gone = {"gone": frozenset(self._gone), "gone_ttl": max(ttls, default=None)}
        unresolved = frozenset(self._builder.unresolved) - self._gone.keys()
        return self._builder.answer(outcome, endpoints, **gone, unresolved=unresolved, **rest)

    def _own_name(self, label: str) -> str:
        outside = not self._config.in_cluster and "." in label
        return f"{label}." if outside else f"{label}.{self._parent}"

    def _addresses(self, name: str, replies: Mapping[int, Reply]) -> tuple[tuple[str, ...], bool]:
        """The accepted addresses of one pod, and whether that is settled: found, or proven to have none."""
        addresses = tuple(
            a for r in replies.values() for a in self._builder.accept(name, r.addresses, r.server)
        )
        replied = all(reply.status is not ReplyStatus.FAILED for reply in replies.values())
        absent = any(reply.status is ReplyStatus.NXDOMAIN for reply in replies.values())
        return addresses, replied or absent or bool(addresses)
