"""A plan of questions driven by a table of replies: no bytes, no socket, no clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from ipaddress import ip_network
from typing import Any

from peerdiscover.answers import Answer, LookupRequest
from peerdiscover.names import ServiceName
from peerdiscover.sources._server import Server
from peerdiscover.sources.dns._answer_builder import LookupConfig
from peerdiscover.sources.dns._lookup import plan_lookup
from peerdiscover.sources.dns._remembered import NameHistory
from peerdiscover.sources.dns._types import Batch, Question, RecordType, Reply, ReplyStatus, Srv

NAME = "web.prod.svc.cluster.local."
A, AAAA, SRV = RecordType.A, RecordType.AAAA, RecordType.SRV
SERVER = Server("10.96.0.10")

Table = Mapping[tuple[str, RecordType], Reply | Sequence[Reply]]


def a(*addresses: str, **more: Any) -> Reply:
    """Addresses, of either family."""
    kind = AAAA if ":" in addresses[0] else A
    return Reply(Question("", kind), ReplyStatus.ANSWER, tuple(addresses), ttl=more.pop("ttl", 5), **more)


def srv(
    *records: tuple[str, int] | str, glue: Mapping[str, Sequence[str]] | None = None, **more: Any
) -> Reply:
    """SRV records: labels beneath NAME or absolute names, each with a port (8080)."""
    found = []
    for record in records:
        label, port = record if isinstance(record, tuple) else (record, 8080)
        found.append(Srv(0, 33, port, full(label)))
    addresses = {full(label): tuple(some) for label, some in (glue or {}).items()}
    return Reply(
        Question("", SRV),
        ReplyStatus.ANSWER,
        services=tuple(found),
        glue=addresses,
        ttl=more.pop("ttl", 5),
        **more,
    )


def full(label: str) -> str:
    return label if label.endswith(".") else f"{label}.{NAME}"


def alias(to: str, kind: RecordType, ttl: int = 5) -> Reply:
    """A CNAME that leads out of the message."""
    return Reply(Question("", kind), ReplyStatus.NODATA, canonical=to, unfinished=True, ttl=ttl)


NXDOMAIN = Reply(Question("", A), ReplyStatus.NXDOMAIN, ttl=5)
NODATA = Reply(Question("", A), ReplyStatus.NODATA, ttl=5)
SILENCE = Reply.failed(Question("", A), "10.96.0.10: no answer in 2.5 s", (SERVER,))


class Run:
    """One lookup against a table. `batches` are the questions it asked; `answer` is what came of it."""

    def __init__(
        self,
        service: str,
        table: Table,
        *,
        known: Mapping[str, tuple[str, ...]] | None = None,
        second_opinion: bool = False,
        server: Server = SERVER,
        history: NameHistory | None = None,
        networks: Sequence[str] | None = None,
        zone: str | None = None,
        **config: Any,
    ) -> None:
        name = ServiceName.parse(service)
        self.history = history or NameHistory()
        self.batches: list[Batch] = []
        self._table = table
        self._turns: dict[tuple[str, RecordType], int] = {}
        self._server = server
        plan = plan_lookup(
            LookupRequest(name, known=known or {}, second_opinion=second_opinion, zone=zone),
            LookupConfig(
                name.absolute("prod"),
                name,
                history=self.history,
                networks=tuple(map(ip_network, networks)) if networks is not None else None,
                **config,
            ),
        )
        try:
            batch = next(plan)
            while True:
                self.batches.append(batch)
                batch = plan.send([self._reply(question) for question in (*batch.questions, *batch.optional)])
        except StopIteration as end:
            self.answer: Answer = end.value

    def _reply(self, question: Question) -> Reply:
        found = self._table.get((question.name, question.kind), NXDOMAIN)
        if not isinstance(found, Reply):
            turn = self._turns.get(question, 0)
            self._turns[question] = turn + 1
            found = found[min(turn, len(found) - 1)]
        return replace(
            found,
            question=question,
            canonical=found.canonical or question.name,
            server=self._server,
            asked=(self._server,),
        )

    @property
    def asked(self) -> list[list[str]]:
        """What was asked, one list a batch: `A web-0`, `SRV NAME`."""
        return [
            [
                f"{q.kind.name} {q.name.removesuffix('.' + NAME).replace(NAME, 'NAME')}"
                for q in batch.questions
            ]
            for batch in self.batches
        ]

    @property
    def pods(self) -> list[tuple[str | None, str]]:
        """Hostname and addresses of each endpoint."""
        return [(e.hostname, " ".join(e.addresses)) for e in self.answer.endpoints]
