"""Round after round until this pod is in a cluster: what `bootstrap` does, one call at a time.

Invariants:

* `steps` yields the calls to make, is sent what they returned or thrown what they raised, and returns the
  cluster. It makes none itself, so that it is the same in threads and in tasks.
* A round's questions leave after the round before ended; what comes later is dropped. `broadcast` does both.
* An answer counts only under its own name. Which pod is at an address, DNS may no longer know.
* What `form` and `join` raise ends an attempt, and the next round decides: all but `ConfigurationError`.
* However a call to `form` or `join` ends, cancellation included, `busy` ends with it.
* Nothing is kept but what the last round ended with: the rest would have to survive this process.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from peerdiscover._text import printable, quoted
from peerdiscover.errors import ConfigurationError, PeerDiscoverError
from peerdiscover.peers import Peer, PeerSet

from ._contact_point import ContactPoint
from ._decision import Form, Heard, Join, Silent, Standing, Wait, decide

if TYPE_CHECKING:
    from tenacity.stop import StopBaseT
    from tenacity.wait import WaitBaseT

    from peerdiscover import AsyncDiscovery, Discovery, Receipt

log = logging.getLogger("peerdiscover")

_ROUND = 10.0
"""Seconds after which a round ends without the probes that have not: only a caller's own takes so long."""
_AT_ONCE = 64
"""How many probes run at once: a thread each."""

Step = Callable[[], Any]
_Call = Callable[..., object]


class NotFormedError(PeerDiscoverError, TimeoutError):
    """This pod is in no cluster yet, and time ran out. It never forms one because of that."""

    def __init__(
        self, message: str, *, why: str = "", heard: Heard | None = None, silent: Silent | None = None
    ) -> None:
        super().__init__(message)
        self.why: str = why
        """What the last round waited for, and for how many seconds: one line."""
        self.heard: Heard = dict(heard or {})
        """What peers answered in the last round, by key."""
        self.silent: Silent = dict(silent or {})
        """Why the others did not, by key."""

    def __reduce__(self) -> tuple[object, ...]:
        # It crosses processes; the errors in `silent` may not be able to.
        return type(self), self.args, {"why": self.why, "heard": self.heard}


def steps(
    discovery: Discovery | AsyncDiscovery,
    contact: ContactPoint,
    form: _Call,
    join: _Call,
    probe: _Call,
    claim: _Call | None,
    stop: StopBaseT | None,
    wait: WaitBaseT | None,
    *,
    sleep: Callable[[float], object],
    now: Callable[[], float],
) -> Generator[Step, Any, str]:
    """The calls of a `bootstrap`, one after the other."""
    _check(contact, form=form, join=join, probe=probe, claim=claim or form)
    me = contact.standing
    if me.cluster is not None:
        return me.cluster
    patience = _Patience(me, stop, wait, now)
    before: Mapping[str, str] | None = None
    ask: _Call = discovery.broadcast  # either one's
    while True:
        receipt: Receipt[object] = yield partial(ask, probe, timeout=_ROUND, limit=_AT_ONCE)
        asked = {peer.key: peer for peer in (*receipt.results, *receipt.errors)}
        heard, silent = _answers(receipt, me.name)
        for key in heard:
            discovery.report_success(asked[key])
        for key, error in silent.items():
            discovery.report_failure(asked[key], error)
        decision = _mistaken(discovery.peers, me) or decide(me, heard, silent, before)
        before, why, failure = None, "", None
        if isinstance(decision, Wait):
            before, why = decision.boots, decision.why
            if decision.peer in silent:
                why += f" from {asked[decision.peer].hostport}"
        else:
            entered = None
            contact.begin()
            try:
                yield from _enter(decision, asked, form, join, claim)
                entered = decision.cluster
            except ConfigurationError:  # no later round mends that
                raise
            except Exception as raised:  # noqa: BLE001 - the next round decides what now
                failure, why = raised, f"{type(decision).__name__.lower()} failed: {quoted(raised, 300)}"
                log.warning("%s: %s; asking again", me.name, why)
            finally:
                contact.end(entered)
            if entered is not None:
                log.info("%s: in cluster %s", me.name, printable(entered))
                return entered
        yield partial(sleep, patience.pause(why, heard, silent, discovery.peers, failure))


def _check(contact: object, **functions: object) -> None:
    if not isinstance(contact, ContactPoint):
        raise ConfigurationError(f"bootstrap(contact={quoted(contact)}): expected a ContactPoint")
    for name, function in functions.items():
        if not callable(function):
            raise ConfigurationError(f"bootstrap({name}={quoted(function)}): expected a function")


def _answers(receipt: Receipt[object], me: str) -> tuple[dict[str, Standing], dict[str, BaseException]]:
    """The standings that count, and the errors, by key."""
    heard: dict[str, Standing] = {}
    silent: dict[str, BaseException] = {peer.key: error for peer, error in receipt.errors.items()}
    for peer, answer in receipt.results.items():
        if not isinstance(answer, Standing):
            silent[peer.key] = TypeError(f"the probe returned {quoted(answer)}: expected a Standing")
        elif answer.name != peer.key:
            silent[peer.key] = ValueError(f"{quoted(answer.name)} answers there: another pod has the address")
        else:
            heard[peer.key] = answer
    # DNS may publish this pod without showing that it is this one.
    silent.pop(me, None)
    heard.pop(me, None)
    return heard, silent


def _mistaken(peers: PeerSet, me: Standing) -> Wait | None:
    """What cannot be right, and may be DNS's mistake as well as the caller's: so it is waited for."""
    keys = printable(", ".join(peer.key for peer in peers))
    if peers.me is not None and peers.me.key != me.name:
        return Wait(f"this pod is {printable(peers.me.key)} in the set, and ContactPoint(name={me.name!r})")
    if any(peer.hostname is None for peer in peers) and peers.kind != "static":
        return Wait(f"peers without hostnames ({keys}) cannot be founders: use a StatefulSet and its Service")
    if len(peers) > 1 and not any(founder in peers.by_key for founder in me.founders):
        return Wait(f"none of the founders ({', '.join(me.founders)}) is in the set; its keys are {keys}")
    return None


def _enter(
    decision: Form | Join, asked: Mapping[str, Peer], form: _Call, join: _Call, claim: _Call | None
) -> Generator[Step, Any, None]:
    """Form, or join at the first peer that takes it; raises what the last call raised."""
    cluster = decision.cluster
    if isinstance(decision, Form):
        claimed = cluster if claim is None else (yield partial(claim, cluster))
        if claimed != cluster:
            raise PeerDiscoverError(
                f"claimed by {quoted(claimed)}: waiting for a pod that is in it; if none is, delete the claim"
            )
        yield partial(form, cluster)
        return
    for name in decision.names:
        try:
            yield partial(join, asked[name], cluster)
            return
        except Exception as error:
            if name == decision.names[-1] or isinstance(error, ConfigurationError):
                raise
            log.warning(
                "%s did not take the join: %s; trying the next peer", printable(name), quoted(error, 300)
            )


class _Patience:
    """How long the whole may take: tenacity's `stop` and `wait`, and the words for what is waited for."""

    def __init__(
        self, me: Standing, stop: StopBaseT | None, wait: WaitBaseT | None, now: Callable[[], float]
    ) -> None:
        import tenacity  # loaded here: it costs more than the rest

        self._stop = tenacity.stop_after_delay(600) if stop is None else stop
        self._wait = tenacity.wait_fixed(1) + tenacity.wait_random(0, 0.2) if wait is None else wait
        for name, given in (("stop", self._stop), ("wait", self._wait)):
            if not callable(given):
                raise ConfigurationError(
                    f"bootstrap({name}={quoted(given)}): expected one of tenacity's, such as "
                    "stop_after_delay(600) or wait_fixed(1)"
                )
        self._now = now
        self._me = me
        self._seen: set[str] = set()
        self._state = tenacity.RetryCallState(
            tenacity.Retrying(stop=self._stop, wait=self._wait), None, (), {}
        )
        self._state.start_time = self._since = now()
        self._future = tenacity.Future
        self._why = ""

    def pause(
        self, why: str, heard: Heard, silent: Silent, peers: PeerSet, failure: Exception | None
    ) -> float:
        """Seconds until the next round; `NotFormedError` if there is none."""
        me, state, now = self._me.name, self._state, self._now()
        self._seen.update(peer.key for peer in peers)
        hint = self._hint(peers)
        if why != self._why:
            self._why, self._since = why, now
            log.info("%s: %s%s", me, why, hint)
        shown = f"{why}, {now - self._since:.0f} s{hint}"
        error = NotFormedError(f"{me} is in no cluster: {shown}", why=shown, heard=heard, silent=silent)
        error.__cause__ = failure
        state.outcome, state.outcome_timestamp = self._future(state.attempt_number), now
        state.outcome.set_exception(error)
        state.upcoming_sleep = pause = float(self._wait(state))
        if self._stop(state):
            raise error
        state.attempt_number += 1
        state.idle_for += pause
        return pause

    def _hint(self, peers: PeerSet) -> str:
        """What the manifest may lack, if that explains which founders were never seen."""
        founders = self._me.founders
        count = sum(founder in self._seen for founder in founders)
        if not peers:
            return "; no pod is listed: does the Service have publishNotReadyAddresses: true?"
        if 0 < count < len(founders) and self._seen.issuperset(founders[:count]):
            return (
                f"; {founders[count]} was never listed: with podManagementPolicy: OrderedReady it is not "
                f"created before {founders[count - 1]} is Ready; use Parallel"
            )
        return ""
