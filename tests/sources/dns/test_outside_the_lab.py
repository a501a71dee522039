"""Nameservers as other people met them, from the socket to the set."""

from __future__ import annotations

from pathlib import Path

import dns.message
import dns.rcode
import dns.rdatatype

from peerdiscover import DNS, Discovery, Outcome, Policy, resolve
from peerdiscover.sources import _server
from peerdiscover.sources.environment import Environment, ResolvConf

from ._lookups import NAME
from ._server import Answers, Server, nothing, records


def refusing(types: set[str], code: str, otherwise: Answers) -> Answers:
    """Answers these questions (a type, or a label of the name) with a code."""

    def answer(query: bytes) -> list[bytes]:
        message = dns.message.from_wire(query)
        asked = message.question[0]
        if types.isdisjoint({dns.rdatatype.to_text(asked.rdtype), str(asked.name).split(".")[0]}):
            return otherwise(query)
        reply = dns.message.make_response(message)
        reply.set_rcode(dns.rcode.from_text(code))
        return [reply.to_wire()]

    return answer


def test_one_broken_target_does_not_freeze_the_set() -> None:
    """A pod that left SRV stayed through 60 refreshes, since the address of another one was not to be had."""
    labels = ["a", "b", "c", "d"]

    def answer(query: bytes) -> list[bytes]:
        srv = [f"_http._tcp.{NAME} SRV 0 0 80 {label}.{NAME}" for label in labels]
        pods = [f"{label}.{NAME} A 10.0.0.{ord(label)}" for label in labels]
        return refusing({"b"}, "SERVFAIL", records(*srv, *pods))(query)

    with Server(answer) as server, Discovery("web.prod:http", source=DNS([server.nameserver])) as web:
        assert [peer.key for peer in web.peers] == ["a", "c", "d"]
        labels.remove("d")
        web.refresh()
        assert [peer.key for peer in web.peers] == ["a", "c"]
        assert web.status.outcome is Outcome.RESOLVED
        assert "b.web.prod.svc.cluster.local.: its address could not be resolved" in web.explain()


def test_a_type_that_is_never_understood_costs_four_questions() -> None:
    answer = refusing({"AAAA"}, "NOTIMP", records(f"{NAME} A 10.0.0.1"))
    with Server(answer) as server, Discovery("web.prod:8080", source=DNS([server.nameserver])) as web:
        asked = len(server.queries)
        web.refresh()
        aaaa = [query for _, query, _ in server.queries[asked:] if query[-15:].find(b"\x00\x1c\x00\x01") >= 0]
        assert len(server.queries) - asked <= 6
        assert len(aaaa) <= 4
        assert 'DNS(family="ipv4")' in web.explain()


def test_with_no_peers_known_the_other_nameserver_is_asked_too() -> None:
    denying = refusing({"A", "AAAA", "SRV"}, "NXDOMAIN", nothing)
    with Server(denying, denying) as no, Server(records(f"{NAME} A 10.0.0.1")) as yes:
        source = DNS([no.nameserver, yes.nameserver])
        with Discovery("web.prod:8080", source=source, policy=Policy(ready_timeout=30)) as web:
            assert [peer.address for peer in web.peers] == ["10.0.0.1"]


def test_udp_that_is_dropped_while_tcp_works() -> None:
    answer = records(f"{NAME} A 10.0.0.1")
    with (
        Server(nothing, answer) as server,
        Discovery("web.prod:8080", source=DNS([server.nameserver])) as web,
    ):
        asked = len(server.queries)
        web.refresh()
        assert server.queries[asked][0] == "tcp", "it is remembered"


def test_options_use_vc_of_resolv_conf(tmp_path: Path) -> None:
    resolv_conf = tmp_path / "resolv.conf"
    resolv_conf.write_text("options use-vc\n")
    with Server(nothing, records(f"{NAME} A 10.0.0.1")) as server:

        class Here(Environment):
            def nameservers(self) -> tuple[_server.Server, ...]:
                """The file could not name its port."""
                return (_server.Server.parse(server.nameserver),)

        source = DNS(environment=Here({}, ResolvConf(resolv_conf)))
        assert [peer.address for peer in resolve("web.prod:8080", source=source)] == ["10.0.0.1"]
        assert {transport for transport, _, _ in server.queries} == {"tcp"}
