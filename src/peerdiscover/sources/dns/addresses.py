"""The addresses of one name: its A and AAAA records, as any program that resolves it would ask.

For code outside of `sources` that needs a single name and nothing of plans, exchanges and sockets.

Invariants:

* The name is absolute and asked as it stands: no SRV, no validation, no second opinion.
* A name without addresses is no error: the answer is `NOT_FOUND` then, and `FAILED` for an error.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from peerdiscover.answers import Answer, Endpoint
from peerdiscover.errors import Outcome
from peerdiscover.sources._server import Server
from peerdiscover.sources.environment import Environment

from ._remembered import ServerStats
from ._types import ADDRESS_TYPES, Batch, Question

if TYPE_CHECKING:
    from ._types import Plan

__all__ = ["Addresses"]


class Addresses:
    """Resolves single names at the given nameservers, else at those of the pod, read when they are needed.

    Raises `ConfigurationError` for what is no nameserver.
    """

    def __init__(
        self, nameservers: Iterable[str] | None = None, *, environment: Environment | None = None
    ) -> None:
        self._servers = tuple(map(Server.parse, nameservers or ()))
        self._environment = environment or Environment()
        self._stats = ServerStats()

    def resolve(self, name: str, seconds: float) -> Answer:
        """The addresses of an absolute name, as one endpoint. Blocks up to `seconds`."""
        from ._drivers import run_plan

        servers = self._servers
        if not servers:
            servers = self._environment.nameservers()
            self._stats.options = self._environment.resolver_options()
        return run_plan(_plan(name), servers, self._stats, seconds)


def _plan(name: str) -> Plan:
    replies = yield Batch(tuple(Question(name, kind) for kind in ADDRESS_TYPES.values()))
    found = tuple(address for reply in replies for address in reply.addresses)
    if found:
        return Answer.of([Endpoint(found, port=1)])  # an endpoint needs a port, which does not matter here
    if all(reply.is_negative for reply in replies):
        return Answer(outcome=Outcome.NOT_FOUND)
    return Answer.failed("; ".join(reply.error for reply in replies if reply.error))
