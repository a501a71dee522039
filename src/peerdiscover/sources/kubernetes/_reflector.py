"""The steps of a watch: what is asked of the API server next, and what its words mean. No socket, no clock.

A driver takes the next `step`, does it, and tells what came: `found`, or `head` and `data` of a response
until it is `done`, or `failed`. Each returns the answers to hand on.

doing    | the request                                  | then
---------|----------------------------------------------|------------------------------------------------
SYNC     | a watch that begins with all that is there   | at the bookmark that ends it the set is whole: one
         | (`sendInitialEvents`)                        | answer, and the stream goes on as WATCH
LIST     | a list, page by page, where that is refused  | one answer, then WATCH
SERVICE  | the Service, where there are no slices       | one answer, then WATCH
WATCH    | a watch from the last resourceVersion on     | an answer for each chunk that changes something,
         |                                              | and for each bookmark: it confirms the set

Rules of this room:

* While a sync is under way the old set stays; then it is replaced whole.
* The end of a watch by its `timeoutSeconds` means a whole sync: a proxy may have swallowed events, and a
  missed DELETED must not last. A stream that breaks before goes on at its resourceVersion, in silence, if
  the next attempt works. After a failure that was told, SYNC asks for a set not older than that version.
* 410, in the stream or as a status: a sync, and the set stays. 429 and 503: `Retry-After` is obeyed, and the
  version kept. 401: the token is read again and tried once more, at once.
* Between attempts it waits 0.8 s, doubling to 30 s, with full jitter; a stream that lasted begins anew.
* Memory is bounded: a line, and a page, have a greatest size.
"""

from __future__ import annotations

import enum
import json
import math
from collections.abc import Callable
from urllib.parse import urlencode

from peerdiscover.answers import Answer
from peerdiscover.errors import ConfigurationError, Outcome
from peerdiscover.names import ServiceName

from ._commands import Find, Get, ServerState, Step, Target, Wait, message_of, seconds_in, seconds_of
from ._endpointslices import Naming, Slices
from ._rbac import forbidden_text, who_was_refused

__all__ = ["Reflector"]

PAGE = 500
"""Slices of one page."""
LINE = 8 << 20
"""Bytes of one event at most. etcd holds no object above some 1.5 MB."""
BODY = 64 << 20
"""Bytes of one page at most."""
WORDS = 64 << 10
"""Bytes of an error's body that are read."""
FIRST_WAIT, LONGEST_WAIT = 0.8, 30.0
LONGEST_RETRY_AFTER = 60.0
LASTED = 5.0
"""Seconds after which a stream was a good one."""
GRACE = 10.0
"""Seconds that a watch may be open beyond what the server was told, within the source's `timeout_seconds`."""
QUIET_TRIES = 2
"""How often in a row a stream may break at once, before that is told as a failure."""


class _Phase(enum.Enum):
    SYNC = "sync"
    LIST = "list"
    SERVICE = "service"
    WATCH = "watch"


class Reflector:
    """One watch of one Service's slices. It never ends by itself."""

    def __init__(
        self,
        service: ServiceName,
        memory: ServerState,
        random: Callable[[], float],
        *,
        timeout: float = 5.0,
        timeout_seconds: float = 300.0,
    ) -> None:
        self._service = service
        self._memory = memory
        self._random = random
        self._timeout = timeout
        self._timeout_seconds = timeout_seconds
        self._place: Target | None = None
        self._slices: Slices | None = None
        """What is told to peers; None before the first sync."""
        self._coming: Slices | None = None
        """What a sync has brought so far."""
        self._version = ""
        """The resourceVersion to go on from; "" where there is none."""
        self._more = ""
        """The page to go on from."""
        self._doing = _Phase.SYNC
        self._due = -math.inf
        self._tries = 0
        self._renewed = False
        self._fresh = True
        self._last: Answer | None = None
        self._told_failure = False
        self._sync_due = math.inf
        self._seconds = 0
        self._streaming_since = -math.inf
        self._begin(-math.inf)

    def _begin(self, now: float) -> None:
        self._began = now
        self._status = 0
        self._retry_after: str | None = None
        self._buffer = bytearray()
        self.done: bool = False
        """Nothing more is wanted of this response."""
        self.deadline: float = now + self._timeout
        """When the response, or what it owes by then, is too late: `failed` with a `TimeoutError`."""

    # The next step

    def step(self, now: float) -> Step:
        """What to do now."""
        if now < self._due:
            return Wait(self._due - now)
        if self._place is None:
            return Find()
        if self._doing is _Phase.WATCH and now >= self._sync_due:
            self._sync_anew()
        if self._doing is _Phase.SYNC and self._memory.no_watch_list:
            self._doing = _Phase.LIST
        self._begin(now)
        get = Get(self._target(now), self._fresh, self._renewed)
        self._fresh = False
        return get

    def _target(self, now: float) -> str:
        assert self._place is not None
        namespace = self._place.namespace
        if self._doing is _Phase.SERVICE:
            self.deadline = now + min(1.0, self._timeout / 4)
            return f"/api/v1/namespaces/{namespace}/services/{self._service.service}"
        query: dict[str, object] = {
            "labelSelector": f"kubernetes.io/service-name={self._service.service}",
        }
        if self._doing is _Phase.LIST:
            query["limit"] = PAGE
            if self._more:
                query["continue"] = self._more
            else:
                self._coming = self._new_slices()
        else:
            seconds = self._timeout_seconds * (0.75 + 0.15 * self._random())
            if self._doing is _Phase.SYNC:
                self._coming = self._new_slices()
                self.deadline = now + self._timeout / 2
                query |= {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
                if self._version:
                    query["resourceVersion"] = self._version
            else:
                query["resourceVersion"] = self._version
                seconds = min(seconds, max(1.0, self._sync_due - now))
            self._seconds = math.ceil(seconds)
            query |= {"watch": "1", "allowWatchBookmarks": "true", "timeoutSeconds": self._seconds}
        path = f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
        return f"{path}?{urlencode(query)}"

    @property
    def _namespace(self) -> str:
        assert self._place is not None
        return self._place.namespace

    def _new_slices(self) -> Slices:
        assert self._place is not None
        return Slices(Naming(self._service, self._place.name, (self._place.server,)))

    # What came

    def found(self, place: Target) -> list[Answer]:
        """The API server is known now."""
        self._place = place
        return []

    def head(self, status: int, retry_after: str | None, now: float) -> list[Answer]:
        """A response begins."""
        self._status, self._retry_after = status, retry_after
        if status != 200:
            return []
        self._renewed = False
        if self._doing is _Phase.SYNC:
            self.deadline = max(self.deadline, now + min(1.0, self._timeout / 2))
        elif self._doing is _Phase.WATCH:
            self._streaming(now)
            if self._told_failure:
                return self._tell()
        return []

    def data(self, chunk: bytes | None, now: float) -> list[Answer]:
        """Some of its body; None: it ended as it should."""
        if chunk is None:
            return self._ended(now)
        self._buffer += chunk
        if self._status != 200 or self._doing in (_Phase.LIST, _Phase.SERVICE):
            if len(self._buffer) <= (BODY if self._status == 200 else WORDS):
                return []
            self.done = True
            if self._status == 200:
                return self._failed(f"a response of more than {BODY >> 20} MB", now)
            return self._refused(now)
        *lines, rest = self._buffer.split(b"\n")
        self._buffer = rest
        if len(rest) > LINE:
            self.done = True
            return self._failed(f"an event of more than {LINE >> 20} MB", now, whole=True)
        confirmed = False
        for line in lines:
            if line.strip():
                told = self._event(bytes(line), now)
                if not isinstance(told, bool):
                    self.done = True
                    # What came before still stands.
                    before = self._changed() if self._doing is _Phase.WATCH else []
                    return [*before, *told()]
                confirmed = told or confirmed
                if self.done:
                    return []
        if self._doing is not _Phase.WATCH:
            return []
        return self._tell() if confirmed else self._changed()

    def _ended(self, now: float) -> list[Answer]:
        self.done = True
        if self._status != 200:
            return self._refused(now)
        if self._doing is _Phase.LIST:
            return self._page_came(now)
        if self._doing is _Phase.SERVICE:
            return self._service_came(self._status)
        if self._doing is _Phase.SYNC:
            return self._failed("the stream ended before the set was whole", now)
        if now - self._began >= self._seconds - 1:
            self._sync_anew()
            self._tries = 0
            return []
        return self._broke("the stream ended early", now)

    def failed(self, error: BaseException, now: float) -> list[Answer]:
        """There was no response, or it broke off."""
        self.done = True
        if self._doing is _Phase.SERVICE:
            return self._service_came(0)
        if isinstance(error, ConfigurationError):
            return self._failed(error, now)
        late = isinstance(error, TimeoutError)
        why = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        if self._doing is _Phase.WATCH and self._status == 200:
            answers = self._broke("nothing came any more" if late else why, now)
            if late:
                self._sync_anew()  # whatever is between us and the server may have swallowed events, too
            return answers
        if self._doing is _Phase.SYNC and self._status == 200 and late:
            # As a server does that does not know `sendInitialEvents`; or one that is slow, this once.
            self._memory.late += 1
            self._memory.no_watch_list = self._memory.late > 1
            self._doing, self._fresh = _Phase.LIST, True
            return []
        return self._failed(f"no answer in {now - self._began:.1f} s" if late else why, now)

    # Events

    def _event(self, line: bytes, now: float) -> bool | Callable[[], list[Answer]]:
        """Take one in. Whether it confirms the set; or, of what ends the stream, what follows from it."""
        try:
            event = json.loads(line)
            kind, item = event["type"], event["object"]
            metadata = item.get("metadata") or {}
            version = metadata.get("resourceVersion") or ""
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return lambda: self._failed(f"a malformed event: {line[:100]!r}", now, whole=True)
        if kind == "ERROR":
            return lambda: self._error(item, now)
        slices = self._coming if self._doing is _Phase.SYNC else self._slices
        assert slices is not None
        if kind in ("ADDED", "MODIFIED"):
            slices.put(item)
        elif kind == "DELETED":
            slices.remove(item)
        elif kind != "BOOKMARK":
            return False
        if isinstance(version, str) and version:
            self._version = version
        if kind != "BOOKMARK":
            return False
        if self._doing is _Phase.WATCH:
            return True
        annotations = metadata.get("annotations") or {}
        if isinstance(annotations, dict) and annotations.get("k8s.io/initial-events-end") == "true":
            self._is_whole()
            if self._doing is _Phase.SERVICE:
                self.done = True
            else:
                self._streaming(now)
            return True
        return False

    def _error(self, status: object, now: float) -> list[Answer]:
        """The stream says why it ends."""
        self._forgive(now)
        code = status.get("code") if isinstance(status, dict) else None
        if code == 410:
            return self._expired(now)
        why = f"the watch ended with an error: {message_of(status)}"
        return self._failed(why, now, whole=code not in (429, 503), after=seconds_in(status))

    def _is_whole(self) -> None:
        """A sync is complete: what it brought replaces what was."""
        self._slices, self._coming = self._coming, None
        self._sync_due = self._began + self._timeout_seconds
        self._more = ""
        self._memory.late = self._memory.late if self._doing is _Phase.LIST else 0
        nobody = not self._slices and self._namespace not in self._memory.forbidden
        self._doing = _Phase.SERVICE if nobody else _Phase.WATCH

    def _streaming(self, now: float) -> None:
        """From now on it is for the server to speak."""
        self._streaming_since = now
        latest = min(self._seconds + GRACE, self._timeout_seconds)
        self.deadline = self._began + max(latest, self._seconds + 1.0)

    # Whole bodies

    def _page_came(self, now: float) -> list[Answer]:
        assert self._coming is not None
        try:
            page = json.loads(self._buffer)
            metadata, items = page["metadata"], page.get("items") or []
            self._version = str(metadata["resourceVersion"])
            self._more = str(metadata.get("continue") or "")
            for item in items:
                self._coming.put(item)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            self._more = ""
            return self._failed(f"a malformed list: {bytes(self._buffer[:100])!r}", now)
        if self._more:
            return []
        self._is_whole()
        return self._tell() if self._doing is _Phase.WATCH else []

    def _service_came(self, status: int) -> list[Answer]:
        """What is known of the Service, where there are no slices: is it there?"""
        assert self._slices is not None
        assert self._place is not None
        self._doing = _Phase.WATCH
        if status == 403:
            self._memory.forbidden.add(self._namespace)
        answer = self._slices.answer()
        if status == 200:
            answer = answer.replace(outcome=Outcome.EMPTY, hint="the Service is there; no pod is behind it")
        elif status == 404:
            where = f"the namespace {self._place.namespace}"
            answer = answer.replace(hint=f"there is no Service {self._service.service} in {where}")
        return self._tell(answer)

    def _refused(self, now: float) -> list[Answer]:
        """A status that is no success, with its body."""
        assert self._place is not None
        status, where = self._status, self._place.credentials
        try:
            said: object = json.loads(self._buffer)
        except (ValueError, RecursionError):
            said = bytes(self._buffer[:200]).decode("utf-8", "replace")
        why = f"{status}: {message_of(said)}"
        if self._doing is _Phase.SERVICE:
            return self._service_came(status)
        if status == 410:
            return self._expired(now)
        if status == 401:
            if not self._renewed:
                self._renewed = self._fresh = True
                return []
            self._renewed = False
            return self._failed(ConfigurationError(f"the credentials are not accepted ({where}): {why}"), now)
        if status == 403:
            who = who_was_refused(message_of(said))
            place = self._place
            text = forbidden_text(place.namespace, self._service.service, who, place.pod_namespace)
            return self._failed(ConfigurationError(text), now)
        if status in (400, 422) and self._doing is _Phase.SYNC:
            self._memory.no_watch_list = True
            return []
        if status == 404:
            error = ConfigurationError(f"discovery.k8s.io/v1 is not served there ({where}): {why}")
            return self._failed(error, now)
        return self._failed(why, now, whole=status not in (429, 503), after=seconds_of(self._retry_after))

    # What follows

    def _sync_anew(self) -> None:
        """A whole sync, of what is there at that moment."""
        self._doing = _Phase.SYNC
        self._version = self._more = ""
        self._fresh = True

    def _expired(self, now: float) -> list[Answer]:
        """The version is too old: the server has forgotten what happened since."""
        self._sync_anew()
        return self._retry("410: the version is too old", now, quiet=True, wait=self._tries > 0)

    def _broke(self, why: str, now: float) -> list[Answer]:
        """A stream that worked is over. It goes on where it was; events since then are told again."""
        self._forgive(now)
        return self._retry(why, now, quiet=True)

    def _forgive(self, now: float) -> None:
        """After a stream that lasted, attempts are counted anew."""
        if self._doing is _Phase.WATCH and now - self._streaming_since >= LASTED:
            self._tries = 0

    def _failed(
        self, why: str | ConfigurationError, now: float, *, whole: bool = False, after: float = 0.0
    ) -> list[Answer]:
        """An attempt failed. `whole`: what the server said casts doubt on the version, too."""
        if self._doing is not _Phase.SYNC and not (
            self._doing is _Phase.WATCH and self._memory.no_watch_list
        ):
            self._doing = _Phase.SYNC
        if whole:
            self._sync_anew()
        self._more = ""
        return self._retry(why, now, after=after)

    def _retry(
        self,
        why: str | ConfigurationError,
        now: float,
        *,
        quiet: bool = False,
        wait: bool = True,
        after: float = 0.0,
    ) -> list[Answer]:
        pause = min(FIRST_WAIT * 2.0 ** min(self._tries, 16), LONGEST_WAIT) * (0.05 + 0.95 * self._random())
        self._due = now + (max(pause, min(after, LONGEST_RETRY_AFTER)) if wait else 0.0)
        self._tries += 1
        self._fresh = True
        if quiet and self._tries <= QUIET_TRIES:
            return []
        self._told_failure = True
        name, servers = ("", ()) if self._place is None else (self._place.name, (self._place.server,))
        return [Answer.failed(why).replace(name=name, servers=servers)]

    def _changed(self) -> list[Answer]:
        """An answer, if peers show that something changed."""
        assert self._slices is not None
        answer = self._slices.answer()
        return [] if self._last is not None and _shown(answer) == _shown(self._last) else self._tell(answer)

    def _tell(self, answer: Answer | None = None) -> list[Answer]:
        assert self._slices is not None
        self._last = self._slices.answer() if answer is None else answer
        self._told_failure = False
        return [self._last]


def _shown(answer: Answer) -> tuple[object, ...]:
    """What is to be seen of an answer."""
    rest = (answer.outcome, answer.kind, answer.dropped, answer.warnings, answer.hint, str(answer.error))
    return answer.endpoints, rest
