"""One real server as a process of its own.

Each has its own folder, its own loopback address and port, and is ready when it answers. It ends by
its own process id, at the latest with the test process. What it logged stands in the failure that
says it did not start.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import dns.exception
import dns.message
import dns.query
import dns.rcode

from tests.waiting import LONG

from ._programs import require

__all__ = ["Server", "ask", "free_endpoint"]


def free_endpoint(address: str | None = None) -> tuple[str, int]:
    """A loopback address and a port that is free there for UDP and TCP.

    On Linux all of 127.0.0.0/8 is loopback: an address at random keeps tests that run side by side
    apart. The port lies below those that the system gives to clients, so that none takes it while
    the server restarts.
    """
    host = address or "127.0.0.1"
    if address is None and sys.platform == "linux":
        host = f"127.{random.randint(1, 254)}.{random.randint(0, 255)}.{random.randint(1, 254)}"
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for port in random.sample(range(10_000, 32_000), 100):
        with (
            socket.socket(family, socket.SOCK_STREAM) as tcp,
            socket.socket(family, socket.SOCK_DGRAM) as udp,
        ):
            try:
                tcp.bind((host, port))
                udp.bind((host, port))
            except OSError:
                continue
            return host, port
    raise AssertionError("no port is free for both UDP and TCP")


def ask(
    server: Server, name: str, kind: str = "A", *, tcp: bool = True, timeout: float = LONG
) -> dns.message.Message:
    """The server's own answer, without the library in between."""
    question = dns.message.make_query(name, kind, use_edns=0, payload=1232)
    exchange = dns.query.tcp if tcp else dns.query.udp
    return exchange(question, server.address, timeout=timeout, port=server.port)


class Server:
    """A DNS server process. Subclasses write its configuration and its command line."""

    program: str
    ready_name = "."

    def __init__(self, *, address: str | None = None) -> None:
        self._path = require(self.program)
        self._wanted_address = address
        self.address, self.port = free_endpoint(address)
        self.folder = Path(tempfile.mkdtemp(prefix=f"{self.program}-"))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def nameserver(self) -> str:
        """As the library's `nameservers=` takes it."""
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"

    @property
    def log(self) -> str:
        """What it logged since it was started first."""
        path = self.folder / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def configure(self) -> None:
        """Writes the configuration; called before each start."""

    def command(self) -> list[str]:
        """The arguments behind the program, to run in the foreground and log to standard error."""
        raise NotImplementedError

    def start(self) -> Self:
        """Runs it, and returns when it answers."""
        assert self._process is None, "it runs already"
        self.configure()
        # With setpriv the kernel ends the server when the test process dies without cleaning up.
        leash = [setpriv, "--pdeathsig", "TERM"] if (setpriv := shutil.which("setpriv")) else []
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*leash, self._path, *self.command()],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # an interrupt at the keyboard is for the tests alone
            )
        try:
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def is_ready(self, answer: dns.message.Message) -> bool:
        """Whether this answer to `ready_name` shows that it serves."""
        return bool(answer.question)

    def _wait_until_ready(self, timeout: float = LONG) -> None:
        assert self._process is not None
        deadline = time.monotonic() + timeout
        last: object = "no answer"
        limit = 0.05
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise AssertionError(
                    f"{self.program} ended with {self._process.returncode}:\n{self.log[-4000:]}"
                )
            try:
                # UDP: a readiness check over TCP would leave the port in TIME_WAIT at the server's end.
                answer = ask(self, self.ready_name, "SOA", tcp=False, timeout=limit)
                if self.is_ready(answer):
                    return
                last = dns.rcode.to_text(answer.rcode())
            except (OSError, EOFError, dns.exception.DNSException) as error:
                last = error
            limit = min(2 * limit, 5.0)  # it may answer, but slowly
            time.sleep(0.01)
        raise AssertionError(f"{self.program} is not ready after {timeout} s ({last!r}):\n{self.log[-4000:]}")

    def stop(self) -> None:
        """Ends it; nothing where it does not run."""
        if self._process is None:
            return
        process, self._process = self._process, None
        process.send_signal(signal.SIGCONT)
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def kill(self) -> None:
        """Ends it at once, as a crash does: its port is closed, and asking it is refused."""
        assert self._process is not None, "it does not run"
        process, self._process = self._process, None
        process.kill()
        process.wait()

    def restart(self) -> None:
        """Ends and runs it again, on the same address and port, with what it stored."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """It keeps its port and says nothing, until `resume`."""
        assert self._process is not None, "it does not run"
        self._process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WNOWAIT)  # all its threads stand still

    def resume(self) -> None:
        """It answers again. What was asked meanwhile is answered late."""
        assert self._process is not None, "it does not run"
        self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """Ends it and removes its folder."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.nameserver})"
