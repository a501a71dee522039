"""Authoritative servers whose records change under the client: Knot DNS and BIND, by RFC 2136 updates.

Both serve one zone, the cluster's (`cluster.local` where nothing else is said).
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rrset
import dns.update

from ._process import Server
from ._zone import HTTP, Pod, service_records, zone_file

Mode = Literal["serve", "refuse", "servfail"]

__all__ = ["Authoritative", "Bind", "Knot"]


class Authoritative(Server):
    """A server of one zone. `mode` says what it does with questions, from the next start on."""

    def __init__(
        self, *, zone: str = "cluster.local", negative_ttl: int = 1, address: str | None = None
    ) -> None:
        super().__init__(address=address)
        self.zone = zone
        self.ready_name = f"{zone}."
        self.mode: Mode = "serve"
        self._published: dict[str, set[dns.name.Name]] = {}
        (self.folder / "zone").write_text(zone_file(zone, negative_ttl=negative_ttl))

    def is_ready(self, answer: dns.message.Message) -> bool:
        wanted = {"serve": dns.rcode.NOERROR, "refuse": dns.rcode.REFUSED, "servfail": dns.rcode.SERVFAIL}
        return answer.rcode() == wanted[self.mode]

    def turn(self, mode: Mode) -> None:
        """Restarts it so that it serves, refuses every question, or has lost its zone and fails."""
        self.stop()
        self.mode = mode
        self.start()

    def update(
        self, *, add: Iterable[dns.rrset.RRset] = (), delete: Iterable[dns.name.Name | str] = ()
    ) -> None:
        """One RFC 2136 message: the names in `delete` lose their records, then `add` comes, all at once."""
        message = dns.update.UpdateMessage(self.zone)
        for name in delete:
            message.delete(name)
        for rrset in add:
            message.add(rrset.name, rrset.to_rdataset())
        # Knot answers when the change is served; so does BIND.
        answer = dns.query.tcp(message, self.address, timeout=10, port=self.port)
        assert answer.rcode() == dns.rcode.NOERROR, f"{answer}\n{self.log[-2000:]}"

    def absolute(self, service: str) -> str:
        """`web.prod` as `web.prod.svc.ZONE.`; a name with a trailing dot as it stands."""
        return service if service.endswith(".") else f"{service}.svc.{self.zone}."

    def publish(
        self, service: str, pods: Sequence[Pod], *, ports: Mapping[str, int] = HTTP, ttl: int = 1
    ) -> None:
        """From now on these pods, and nobody else, stand behind `service`. Nobody: the name is not there."""
        self.put(service, service_records(self.absolute(service), pods, ports=ports, ttl=ttl))

    def put(self, service: str, records: Sequence[dns.rrset.RRset]) -> None:
        """From now on these records, and no others, are those of `service`."""
        before = self._published.get(service, set())
        self.update(add=records, delete=sorted(before))
        self._published[service] = {record.name for record in records}


class Knot(Authoritative):
    """Knot DNS. SRV answers carry the addresses of their targets, as CoreDNS's do."""

    program = "knotd"

    def configure(self) -> None:
        zone = {
            "serve": f"zone:\n  - domain: {self.zone}\n    file: zone\n    acl: update\n",
            "refuse": "",  # it knows no zone: REFUSED
            "servfail": f"zone:\n  - domain: {self.zone}\n    file: lost\n    journal-content: none\n",
        }[self.mode]
        text = f"""\
            server:
                rundir: {self.folder}
                listen: {self.address}@{self.port}
                udp-workers: 1
                tcp-workers: 1
                background-workers: 1
            log:
              - target: stderr
                any: info
            database:
                storage: {self.folder}
                journal-db-max-size: 64M
            acl:
              - id: update
                address: [127.0.0.0/8, "::1"]
                action: update
            template:
              - id: default
                storage: {self.folder}
                zonefile-sync: -1
            """
        (self.folder / "knot.conf").write_text(textwrap.dedent(text) + zone)

    def command(self) -> list[str]:
        return ["--config", str(self.folder / "knot.conf")]


class Bind(Authoritative):
    """BIND. It takes as many records a type as it is given, and leaves out what does not fit."""

    program = "named"

    def __init__(
        self, *, zone: str = "cluster.local", negative_ttl: int = 1, address: str = "127.0.0.1"
    ) -> None:
        # It listens only where an interface has the address; the rest of 127.0.0.0/8 does not count.
        super().__init__(zone=zone, negative_ttl=negative_ttl, address=address)

    def configure(self) -> None:
        file = "lost" if self.mode == "servfail" else "zone"
        listen_on = "listen-on-v6" if ":" in self.address else "listen-on"
        other = "listen-on" if ":" in self.address else "listen-on-v6"
        text = f"""\
            options {{
                directory "{self.folder}";
                pid-file none;
                session-keyfile none;
                {listen_on} port {self.port} {{ {self.address}; }};
                {other} {{ none; }};
                recursion no;
                dnssec-validation no;
                minimal-responses no-auth;
                max-records-per-type 0;
                notify no;
                allow-query {{ {"none" if self.mode == "refuse" else "any"}; }};
            }};
            controls {{ }};
            zone "{self.zone}" {{ type primary; file "{file}"; allow-update {{ 127.0.0.0/8; ::1; }}; }};
            """
        (self.folder / "named.conf").write_text(textwrap.dedent(text))

    def command(self) -> list[str]:
        # -g: in the foreground, logging to standard error; -n 1: one thread
        return ["-g", "-n", "1", "-c", str(self.folder / "named.conf")]
