"""What a pod answers when it is asked for its standing.

Invariants:

* Any thread may ask at any time; an answer is made when it is asked for.
* `busy` is set before `form` or `join` is called, and ends together with what came of it, in one step.
* Within one life, a cluster is never left: who leaves one ends the process.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterable
from dataclasses import replace

from peerdiscover._labels import LABEL
from peerdiscover._text import quoted
from peerdiscover.errors import ConfigurationError

from ._decision import Standing


def founders(name: str, replicas: int, start: int = 0) -> tuple[str, ...]:
    """The first `replicas` pods of the StatefulSet `name`, as founders: `("web-0", "web-1", "web-2")`.

    `start` is its `spec.ordinals.start`. Three or five are enough for any number of pods: the others join.
    `ConfigurationError` for what is no name, or no number.
    """
    if not isinstance(name, str) or not LABEL.fullmatch(name):
        raise ConfigurationError(f"founders({quoted(name)}): expected a StatefulSet's name, such as 'web'")
    for what, given, least in ("replicas", replicas, 1), ("start", start, 0):
        if not isinstance(given, int) or isinstance(given, bool) or given < least:
            raise ConfigurationError(
                f"founders({what}={quoted(given)}): expected a whole number of at least {least}"
            )
    return tuple(f"{name}-{i}" for i in range(start, start + replicas))


class ContactPoint:
    """This pod's standing; peers ask for it while they look for a cluster.

    `name`: this pod's key in the set: its hostname, or the entry of a `static:` list.
    `founders`: the keys of the founders, in the same order in every pod; the first one forms.
    `cluster`: the cluster that the application's disk remembers, if it does.

    Make one in each process, before it answers anything, and answer a POST with `answer()`, as JSON and with
    `Cache-Control: no-store`. `ConfigurationError` for founders that are none, or are there twice.
    """

    def __init__(self, name: str, founders: Iterable[str], *, cluster: str | None = None) -> None:
        several = isinstance(founders, Iterable) and not isinstance(founders, str)
        listed = tuple(founders) if several else ()
        for what, given in (("name", name), *(("founders", founder) for founder in listed)):
            if not isinstance(given, str) or not given:
                raise ConfigurationError(
                    f"ContactPoint({what}={quoted(given)}): expected the key of a peer, such as 'web-0'"
                )
        if not listed or len({*listed}) < len(listed):
            raise ConfigurationError(
                f"ContactPoint(founders={quoted(founders)}): expected the keys of peers, each once, such as "
                "('web-0', 'web-1', 'web-2')"
            )
        if cluster is not None and (not isinstance(cluster, str) or not cluster):
            raise ConfigurationError(
                f"ContactPoint(cluster={quoted(cluster)}): expected a cluster's id, or None"
            )
        self._lock = threading.Lock()
        self._standing = Standing(name, secrets.token_hex(8), listed, cluster)

    def __repr__(self) -> str:
        return f"<ContactPoint: {self._standing}>"

    @property
    def standing(self) -> Standing:
        """What this pod says of itself now."""
        return self._standing

    def answer(self) -> bytes:
        """The standing as JSON: the body of the answer to a probe."""
        return self._standing.to_json()

    def begin(self) -> None:
        """Say that this pod forms or joins; `bootstrap` does. `ConfigurationError` if it does already."""
        with self._lock:
            if self._standing.busy:
                raise ConfigurationError(
                    f"{self._standing.name}: it forms or joins already; bootstrap it once"
                )
            self._standing = replace(self._standing, busy=True)

    def end(self, cluster: str | None) -> None:
        """Say what came of it, the cluster that this pod is in, or None; `bootstrap` does."""
        with self._lock:
            self._standing = replace(self._standing, cluster=cluster or self._standing.cluster, busy=False)
