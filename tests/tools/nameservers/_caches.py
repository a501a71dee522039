"""Caches that stand between the client and the authority: dnsmasq and unbound."""

from __future__ import annotations

import textwrap

from ._process import Server

__all__ = ["Dnsmasq", "Unbound"]


class Dnsmasq(Server):
    """dnsmasq, forwarding to `upstreams` (each `address:port`)."""

    program = "dnsmasq"

    def __init__(self, *upstreams: Server, min_ttl: int = 0, options: tuple[str, ...] = ()) -> None:
        super().__init__()
        self._upstreams = upstreams
        self._options = (f"--min-cache-ttl={min_ttl}", *options) if min_ttl else options

    def command(self) -> list[str]:
        return [
            "--no-daemon",  # in the foreground, as who started it, TCP without processes of its own
            "--conf-file=/dev/null",
            "--no-resolv",
            "--no-hosts",
            "--log-facility=-",
            "--log-queries",
            f"--pid-file={self.folder / 'pid'}",
            f"--listen-address={self.address}",
            "--bind-interfaces",
            f"--port={self.port}",
            "--cache-size=10000",
            *(f"--server={server.address}#{server.port}" for server in self._upstreams),
            *self._options,
        ]


class Unbound(Server):
    """unbound, forwarding to `upstreams`. `serve_expired`: it goes on with what it has."""

    program = "unbound"

    def __init__(
        self,
        *upstreams: Server,
        min_ttl: int = 0,
        max_negative_ttl: int = 3600,
        serve_expired: bool = False,
        tcp: bool = True,
    ) -> None:
        super().__init__()
        self._upstreams = upstreams
        self._min_ttl = min_ttl
        self._max_negative_ttl = max_negative_ttl
        self._serve_expired = serve_expired
        self._tcp = tcp

    def configure(self) -> None:
        def yes(on: bool) -> str:
            return "yes" if on else "no"

        forward = "".join(f"\n    forward-addr: {s.address}@{s.port}" for s in self._upstreams)
        text = f"""\
            server:
                directory: "{self.folder}"
                pidfile: ""
                chroot: ""
                username: ""
                do-daemonize: no
                use-syslog: no
                logfile: ""
                log-queries: yes
                interface: {self.address}@{self.port}
                access-control: 127.0.0.0/8 allow
                do-not-query-localhost: no
                module-config: "iterator"
                num-threads: 1
                so-reuseport: no
                do-tcp: {yes(self._tcp)}
                cache-min-ttl: {self._min_ttl}
                cache-max-negative-ttl: {self._max_negative_ttl}
                serve-expired: {yes(self._serve_expired)}
                serve-expired-client-timeout: 0
            remote-control:
                control-enable: no
            forward-zone:
                name: "."
            """
        (self.folder / "unbound.conf").write_text(textwrap.dedent(text).rstrip() + forward + "\n")

    def command(self) -> list[str]:
        return ["-d", "-c", str(self.folder / "unbound.conf")]
