"""Processes in the cluster's network that print lines of JSON, and whoever waits for those lines."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, Self

from tests.tools.cluster import Cluster

Json = dict[str, Any]
PATIENCE = 60.0


class Child:
    """One such process; it ends with the `with` block."""

    def __init__(self, cluster: Cluster, module: str, *arguments: str) -> None:
        self.lines: list[Json] = []
        self._news = threading.Condition()
        with cluster.inside():  # the child of a thread is where the thread is
            self._process = subprocess.Popen(
                [sys.executable, "-m", f"tests.bench.{module}", *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()
        self._reader.join()
        for pipe in self._process.stdin, self._process.stdout:
            if pipe is not None:
                pipe.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._news:
                self.lines.append(json.loads(line))
                self._news.notify_all()

    def ended(self) -> list[Json]:
        """All lines, once it has ended by itself."""
        assert self._process.wait(PATIENCE) == 0
        self._reader.join()
        return self.lines

    def until(self, holds: Callable[[list[Json]], Any], timeout: float = PATIENCE) -> Any:
        """What `holds` returns of the lines, once that is something."""
        with self._news:
            deadline = time.monotonic() + timeout
            while not (found := holds(self.lines)):
                assert self._news.wait(deadline - time.monotonic()), (
                    f"{self._process.args!r}: {self.lines[-3:]}"
                )
            return found

    def ask(self) -> Json:
        """How a program that follows is: the line that says so."""
        assert self._process.stdin is not None
        with self._news:
            before = sum("cpu" in line for line in self.lines)
            self._process.stdin.write("\n")
            self._process.stdin.flush()
        answer: Json = self.until(lambda lines: [x for x in lines if "cpu" in x][before:])[0]
        return answer

    def added(self) -> dict[str, float]:
        """When each address was first there."""
        return self._first("added")

    def removed(self) -> dict[str, float]:
        """When each address first was there no more."""
        return self._first("removed")

    def _first(self, what: str) -> dict[str, float]:
        found: dict[str, float] = {}
        with self._news:
            for line in self.lines:
                for address in line.get(what, ()):
                    found.setdefault(address, line["at"])
        return found

    def there(self, count: int) -> Self:
        """Itself, once it shows so many."""
        self.until(
            lambda lines: sum(len(x["added"]) - len(x["removed"]) for x in lines if "added" in x) >= count
        )
        return self


def program(
    cluster: Cluster,
    how: str,
    service: str,
    source: str,
    *,
    runtime: str = "threads",
    least: int = 1,
    times: int = 1,
    warm: str = "",
    **options: Any,
) -> Child:
    """A program that discovers `service`; see `_cluster_program`."""
    if source == "dns":
        options = {"nameservers": [cluster.nameserver], "cluster_domain": cluster.cluster_domain, **options}
    elif "server" not in options:
        options = {
            "server": cluster.server, "ca": str(cluster.ca), "token": cluster.admin_token, **options,
        }  # fmt: skip
    told = {
        "how": how, "runtime": runtime, "service": service, "source": source, "options": options,
        "least": least, "times": times, "warm": warm,
    }  # fmt: skip
    return Child(cluster, "_cluster_program", json.dumps(told))
