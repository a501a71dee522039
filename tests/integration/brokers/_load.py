"""The load of one client, in a process of its own: it writes and reads until its stdin ends.

    ip netns exec CLUSTER python -m tests.integration.brokers._load '{"module": …, "client": …}'

One thread writes texts, each once, in turn to the client's lanes (a lane is what one pod answers for: a
partition, a slot, a key). Another one reads what is there. A text counts as acknowledged when `write`
returns. stdout has two lines of JSON: once every lane was written and something was read, and the result.

The load ends when every lane was written once more, and all that was acknowledged was read; at the latest
after `patience` seconds.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from typing import Any, Protocol

from peerdiscover.brokers import HostPort, hosts

PAUSE = 0.05
"""Seconds between two writes, and between two reads."""


Pods = Sequence[HostPort]
Options = Mapping[str, Any]


class Client(Protocol):
    """What a driver can do. One object writes, another one reads, each in a thread of its own."""

    def write(self, lane: int, text: str, /) -> None:
        """Return once the server has acknowledged it; else raise."""

    def read(self) -> Iterable[str]:
        """Texts that are there: all of them, or, of what is consumed, those that came since."""
        raise NotImplementedError

    def close(self) -> None: ...


class Successes:
    """When each lane succeeded last, and the longest time without."""

    def __init__(self) -> None:
        self._last: dict[int, float] = {}
        self.longest = 0.0

    def add(self, lane: int) -> None:
        now = time.monotonic()
        self.longest = max(self.longest, now - self._last.get(lane, now))
        self._last[lane] = now

    def since(self, moment: float) -> int:
        """How many lanes succeeded since then."""
        return sum(at >= moment for at in self._last.values())

    def end(self) -> None:
        """Lanes that never came back have been without success until now."""
        for lane in self._last:
            before = self._last[lane]
            self.add(lane)
            self._last[lane] = before


class Load:
    """Both threads, and what they share."""

    def __init__(self, make: Any, lanes: int, *, keeps: bool, consumes: bool) -> None:
        self._make, self._lanes, self._keeps, self._consumes = make, lanes, keeps, consumes
        self.acknowledged: set[str] = set()
        self.seen: set[str] = set()
        self.writes, self.reads = Successes(), Successes()
        self.errors: Counter[str] = Counter()
        self._enough = threading.Event()

    def start(self) -> None:
        """Daemons, since a driver may hang for as long as it likes."""
        for work in self._write, self._read:
            threading.Thread(target=work, daemon=True).start()

    def until(self, holds: Any, patience: float) -> bool:
        """Whether it came to hold in that time."""
        deadline = time.monotonic() + patience
        while not holds() and time.monotonic() < deadline:
            time.sleep(0.02)
        return bool(holds())

    @property
    def lost(self) -> set[str]:
        """What was acknowledged and is not there; nothing, of a program that promises nothing."""
        return self.acknowledged - self.seen if self._keeps else set()

    def has_begun(self) -> bool:
        return self.writes.since(0) == self._lanes and bool(self.seen)

    def ends(self, patience: float) -> tuple[bool, bool]:
        """Whether every lane was written once more, and whether all that was acknowledged was read."""
        now = time.monotonic()
        written = self.until(lambda: self.writes.since(now) == self._lanes, patience)
        self._enough.set()
        self.writes.end()
        left = now + patience - time.monotonic()
        read = self.until(lambda: self.reads.since(now) and not self.lost, left)
        self.reads.end()
        return written, read

    def _write(self) -> None:
        client, number = self._made(), 0
        while not self._enough.is_set():
            lane = number % self._lanes
            text = f"{lane}-{number}"
            try:
                client.write(lane, text)
            except Exception as error:
                self._failed(error)
            else:
                self.acknowledged.add(text)
                self.writes.add(lane)
            number += 1
            time.sleep(PAUSE)
        client.close()

    def _read(self) -> None:
        client = self._made()
        while True:
            texts = set[str]()
            try:
                for text in client.read():
                    texts.add(text)
                    if self._consumes:  # it may not come again, whatever comes after it
                        self.seen.add(text)
            except Exception as error:
                self._failed(error)
            else:
                if not self._consumes:
                    self.seen = texts
                if texts:
                    self.reads.add(0)
            time.sleep(PAUSE)

    def _made(self) -> Client:
        while True:
            try:
                client: Client = self._make()
            except Exception as error:
                self._failed(error)
                time.sleep(PAUSE)
            else:
                return client

    def _failed(self, error: Exception) -> None:
        self.errors[f"{type(error).__name__}: {error}"[:200]] += 1


def pods_of(options: Options, port: int) -> Pods:
    """The pods by name. A naive client has the headless name alone, or an address that was a pod's."""
    if options["client"].endswith("the headless name"):
        return [HostPort(options["service"], port)]
    if options["client"].endswith("one address"):
        return [HostPort(options["address"], port)]
    return hosts(f"{options['service']}:{port}", name=options["name"], replicas=options["replicas"])


def main() -> None:
    options = json.loads(sys.argv[1])
    program = import_module(options["module"])
    client, pods = program.CLIENTS[options["client"]], pods_of(options, program.PORT)
    kinds = {"keeps": program.KEEPS, "consumes": program.CONSUMES}
    load = Load(lambda: client(pods, options), program.LANES, **kinds)
    load.start()
    began = load.until(load.has_begun, options["patience"])
    _say({"began": began, "errors": load.errors})
    sys.stdin.read()
    wrote, read = load.ends(options["patience"])
    result = {
        "wrote": wrote,
        "read": read,
        "acknowledged": len(load.acknowledged),
        "lost": sorted(load.lost) if program.KEEPS else None,
        "write_gap": load.writes.longest,
        "read_gap": load.reads.longest,
        "errors": load.errors,
    }
    _say(result)
    os._exit(0)  # threads of drivers may hang


def _say(what: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
