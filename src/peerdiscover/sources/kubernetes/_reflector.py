"""List and watch: what to ask the API server next, and what follows from what it says. No socket, no clock.

A driver takes the next `step`, does it, and reports what came: `found`, or `head` and `data` of a response
until it is `done`, or `failed`. Each returns the answers to hand on. (client-go calls this a reflector.)

Invariants:

* A watch that ended by its `timeoutSeconds` is followed by a whole sync: a proxy may have swallowed events,
  and a missed DELETED must not last. A stream that breaks earlier resumes at its resourceVersion, in silence
  if the next attempt works. After a reported failure, SYNC asks for a set not older than that version.
* 410, in the stream or as a status: a sync, and the set stays. 429 and 503: `Retry-After` is obeyed, and the
  version kept. 401: the token is read again, and the request is repeated at once, one time.
* Between attempts it waits 0.8 s, doubling to 30 s, with full jitter. A stream that lasted resets that.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from peerdiscover._text import printable
from peerdiscover.answers import Answer
from peerdiscover.errors import ConfigurationError
from peerdiscover.names import ServiceName

from . import _events
from ._commands import Command, Find, Get, ServerState, Target, Wait
from ._endpointslices import Publication
from ._events import Body, Event, EventReader, MalformedError, message_of
from ._phases import MAX_PAGES, NEXT, Phase, Signal, request_path
from ._rbac import refusal
from ._redaction import Redactor

FIRST_WAIT, LONGEST_WAIT = 0.8, 30.0
LONGEST_RETRY_AFTER = 60.0
LASTED = 5.0
"""Seconds after which a stream was a good one."""
GRACE = 10.0
"""Seconds that a watch may be open longer than the server was asked for, within `timeout_seconds`."""
LIST_TIMEOUTS = 6
"""A list of many pages may take so many times as long as one response."""
QUIET_TRIES = 2
"""How many times in a row a stream may break at once before that is reported as a failure."""

Reason = str | ConfigurationError


class Reflector:
    """One watch of one Service's slices. It never ends by itself.

    `state`: what is known of the server; shared by all watches of a source
    `random`: returns a number from 0 to 1, for jitter
    `timeout`: seconds that a response may take
    `timeout_seconds`: seconds after which the set is read again as a whole
    """

    def __init__(
        self,
        service: ServiceName,
        state: ServerState,
        random: Callable[[], float],
        *,
        timeout: float = 5.0,
        timeout_seconds: float = 300.0,
    ) -> None:
        self._service = service
        self._state = state
        self._random = random
        self._timeout = timeout
        self._timeout_seconds = timeout_seconds
        self._target: Target | None = None
        self._redactor = Redactor()
        self._phase = Phase.SYNC  # `_phases` has what each asks for, and what follows it
        self._set = Publication()
        self._version = ""
        """The resourceVersion to resume from; "" if there is none."""
        self._next_page = ""
        self._pages, self._list_began = 0, -math.inf
        self._sync_due = math.inf
        self._failures, self._due = 0, -math.inf  # attempts that failed in a row; when the next may begin
        self._reconnect = True
        self._reload_token = False
        self._begin(-math.inf)

    def _begin(self, now: float) -> None:
        """A request is sent now: everything that is of one response only."""
        self._now = self._began = now
        self._status = 0
        self._retry_after: str | None = None
        self._events = EventReader(self._redactor)
        self._body = Body(_events.MAX_BODY, self._redactor)
        self._asked_seconds = 0
        self._streaming_since = math.inf
        self.done: bool = False
        """The driver need read no more of this response."""
        self.deadline: float = now + self._timeout
        """When the response, or what it owes by then, is late: `failed` with a `TimeoutError`."""

    # What to do next

    def step(self, now: float) -> Command:
        if now < self._due:
            return Wait(self._due - now)
        if self._target is None:
            return Find()
        if self._phase is Phase.WATCH and now >= self._sync_due:
            self._advance(Signal.STALE)
        if self._phase is Phase.SYNC and self._state.no_watch_list:
            self._advance(Signal.UNSUPPORTED)
        self._begin(now)
        seconds = self._timeout_seconds * (0.75 + 0.15 * self._random())
        if self._phase is Phase.WATCH:
            seconds = min(seconds, max(1.0, self._sync_due - now))
        elif self._phase is Phase.SERVICE:
            self.deadline = now + min(1.0, self._timeout / 4)
        elif not self._next_page:
            self._pages, self._list_began = 0, now
            self._set.begin_sync(self._service, self._target)
        if self._phase is Phase.SYNC:
            self.deadline = now + self._timeout / 2
        self._asked_seconds = math.ceil(seconds)
        of = self._target.namespace, self._service.service
        path = request_path(self._phase, *of, self._version, self._next_page, self._asked_seconds)
        reconnect, self._reconnect = self._reconnect, False
        return Get(path, reconnect, self._reload_token)

    def _advance(self, signal: Signal) -> None:
        self._phase = NEXT[self._phase][signal]
        self._next_page = ""
        if signal is Signal.STALE:
            self._version, self._reconnect = "", True

    # What came

    def found(self, target: Target) -> list[Answer]:
        """The API server is known now."""
        self._target, self._redactor = target, target.redactor
        return []

    def head(self, status: int, retry_after: str | None, now: float) -> list[Answer]:
        """A response begins."""
        self._now, self._status, self._retry_after = now, status, retry_after
        if status != 200:
            self._body = Body(_events.MAX_ERROR_BODY, self._redactor)
            return []
        self._reload_token = False
        if self._phase is Phase.SYNC:
            self.deadline = max(self.deadline, now + min(1.0, self._timeout / 2))
        elif self._phase is Phase.WATCH:
            self._stream()
            if self._set.failure_reported:
                return self._set.confirm()
        return []

    def data(self, chunk: bytes | None, now: float) -> list[Answer]:
        """Some of its body; None: it ended as it should."""
        self._now = now
        if chunk is None:
            return self._ended()
        if self._status == 200 and self._phase in (Phase.SYNC, Phase.WATCH):
            return self._streamed(chunk)
        try:
            self._body.add(chunk)
        except MalformedError as error:
            is_page = self._status == 200 and self._phase is Phase.LIST
            return self._fail(str(error)) if is_page else self._refused()
        return []

    def _streamed(self, chunk: bytes) -> list[Answer]:
        confirmed = False
        try:
            for event in self._events.events(chunk):
                if event.kind == "ERROR":
                    return [*self._changes(), *self._error(event.item)]
                confirmed = self._apply(event) or confirmed
                if self.done:
                    return []
        except MalformedError as error:
            return [*self._changes(), *self._retry(Signal.STALE, str(error))]
        return self._set.confirm() if confirmed else self._changes()

    def _ended(self) -> list[Answer]:
        self.done = True
        if self._status != 200 or self._phase is Phase.SERVICE:
            return self._refused()
        if self._phase is Phase.LIST:
            return self._page()
        if self._phase is Phase.SYNC:
            return self._fail("the stream ended before the set was complete")
        if self._now - self._began >= self._asked_seconds - 1:
            self._advance(Signal.STALE)
            self._failures = 0
            return []
        return self._retry(Signal.BROKEN, "the stream ended early", quiet=True)

    def failed(self, error: BaseException, now: float) -> list[Answer]:
        """There was no response, or it broke off."""
        self._now, self.done = now, True
        if self._phase is Phase.SERVICE:
            return self._checked(0)
        if isinstance(error, ConfigurationError):
            return self._fail(error)
        late, streaming = isinstance(error, TimeoutError), self._status == 200
        if late and streaming and self._phase is Phase.SYNC:
            # A server that does not know `sendInitialEvents` does so; or one that is slow, this once.
            self._state.late += 1
            self._state.no_watch_list = self._state.late > 1
            self._advance(Signal.UNSUPPORTED)
            self._reconnect = True
            return []
        why = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        why = printable(self._redactor.text(why), 1000)
        if streaming and self._phase is Phase.WATCH:
            # What is between us and a server that went silent may have swallowed events, too.
            if late:
                return self._retry(Signal.STALE, "the stream went silent", quiet=True)
            return self._retry(Signal.BROKEN, why, quiet=True)
        return self._fail(f"no answer in {now - self._began:.1f} s" if late else why)

    # What it means

    def _apply(self, event: Event) -> bool:
        """Take an event in. Returns whether it confirms the set."""
        if event.kind not in ("ADDED", "MODIFIED", "DELETED", "BOOKMARK"):
            return False
        self._set.apply(event)
        self._version = event.version or self._version
        if self._phase is Phase.WATCH:
            return event.kind == "BOOKMARK"
        if event.ends_initial_events:
            self.done = not self._complete()
            self._stream()
        return event.ends_initial_events

    def _page(self) -> list[Answer]:
        try:
            page = _events.parse_page(self._body.take())
            for item in page.items:
                self._set.apply(Event("ADDED", item))
        except MalformedError as error:
            return self._fail(str(error))
        self._version, self._next_page = page.version, page.next_page
        self._pages += 1
        if self._next_page:
            if self._pages < MAX_PAGES and self._now - self._list_began < LIST_TIMEOUTS * self._timeout:
                return []
            took = f"{self._pages} pages in {self._now - self._list_began:.0f} s"
            return self._fail(f"a list that does not end: {took}, and the server says there are more")
        return self._set.confirm() if self._complete() else []

    def _complete(self) -> bool:
        """A sync is complete: what it brought replaces the set. Returns whether that can be reported now."""
        assert self._target is not None
        any_slices = self._set.complete_sync()
        self._sync_due = self._began + self._timeout_seconds
        if self._phase is Phase.SYNC:
            self._state.late = 0
        ask = not any_slices and self._target.namespace not in self._state.forbidden
        self._advance(Signal.NO_SLICES if ask else Signal.COMPLETE)
        return not ask

    def _stream(self) -> None:
        """From now on the server speaks when it has news, until the watch's time ends."""
        self._streaming_since = self._now
        latest = min(self._asked_seconds + GRACE, self._timeout_seconds)
        self.deadline = self._began + max(latest, self._asked_seconds + 1.0)

    def _checked(self, status: int) -> list[Answer]:
        """Whether there is such a Service, as far as that can be known."""
        assert self._target is not None
        self.done = True
        self._advance(Signal.CHECKED)
        namespace = self._target.namespace
        if status == 403:
            self._state.forbidden.add(namespace)
        return self._set.without_slices(status, self._service.service, namespace)

    def _refused(self) -> list[Answer]:
        """A status that is no success, with its body; of the Service itself any status."""
        assert self._target is not None
        self.done = True
        status = self._status
        if self._phase is Phase.SERVICE:
            return self._checked(status)
        if status == 401:
            self._reload_token = not self._reload_token
            if self._reload_token:
                self._reconnect = True
                return []
        if status in (400, 422) and self._phase is Phase.SYNC:
            self._state.no_watch_list = True
            return []
        message = message_of(_events.parse_status(self._body.take()))
        why = refusal(status, message, self._service.service, self._target)
        return self._server_failed(status, why, _events.seconds_of(self._retry_after))

    def _error(self, status: object) -> list[Answer]:
        """The stream says why it ends."""
        code = status.get("code") if isinstance(status, dict) else None
        why = f"the watch ended with an error: {message_of(status)}"
        return self._server_failed(code, why, _events.retry_after_in(status))

    def _server_failed(self, code: object, why: Reason, after: float) -> list[Answer]:
        """The server reports an error. Unless it is only busy, its version may be what is wrong."""
        if code == 410:  # it has forgotten what happened since the version: a sync, the first time at once
            return self._retry(Signal.STALE, "410: the version is too old", quiet=True, at_once=True)
        if isinstance(why, ConfigurationError) or code in (429, 503):
            return self._fail(why, after=after)
        return self._retry(Signal.STALE, why, after=after)

    def _changes(self) -> list[Answer]:
        """What a watch shows; a sync shows nothing before it is complete."""
        return self._set.changes() if self._phase is Phase.WATCH else []

    # What follows

    def _fail(self, why: Reason, *, after: float = 0.0) -> list[Answer]:
        """An attempt failed, and the version is still good."""
        resume = self._phase is Phase.WATCH and self._state.no_watch_list  # lists know no "not older than"
        return self._retry(Signal.BROKEN if resume else Signal.FAILED, why, after=after)

    def _retry(
        self, signal: Signal, why: Reason, *, quiet: bool = False, at_once: bool = False, after: float = 0.0
    ) -> list[Answer]:
        """Try again later. `quiet`: the first two in a row are no failure. `at_once`: the first waits not."""
        self.done = self._reconnect = True
        self._advance(signal)
        if self._now - self._streaming_since >= LASTED:
            self._failures = 0
        longest = min(FIRST_WAIT * 2.0 ** min(self._failures, 16), LONGEST_WAIT)
        wait = max(longest * (0.05 + 0.95 * self._random()), min(after, LONGEST_RETRY_AFTER))
        self._due = self._now if at_once and not self._failures else self._now + wait
        self._failures += 1
        if quiet and self._failures <= QUIET_TRIES:
            return []
        self._set.failure_reported = True
        name, servers = ("", ()) if self._target is None else (self._target.name, (self._target.server,))
        return [Answer.failed(why).replace(name=name, servers=servers)]
