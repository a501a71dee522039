"""Listing and watching EndpointSlices: the steps, without any I/O.

Told the time and what came over the wire, a `Watching` says which request is next and hands over answers.

step              | what it is, and what follows
------------------|--------------------------------------------------------------------------------------
watch-list        | a watch that begins with everything: ADDED for each slice, then a BOOKMARK annotated
                  | `initial-events-end`. Only then does the set change, once. Where it is refused, or does
                  | not come to that in time: list, from then on
list              | pages of `PAGE` slices; the set changes when the last one is there. Then: watch
watch             | from the resourceVersion that was reached. Each chunk of events gives at most one answer
look              | whether a Service without slices is there at all, where one may read Services

what happens                          | what follows
--------------------------------------|------------------------------------------------------------------
a BOOKMARK                            | confirms the set: `age` begins anew
the watch ends at its `timeoutSeconds`| everything anew, whole: a proxy may have swallowed an event, and a
                                      | missed DELETED must not last. What was known stays meanwhile
silence beyond `timeoutSeconds`       | the same
the connection breaks                 | once at once from where it was; then with back-off
410, in the stream or as a status     | everything anew
401                                   | the token is read again, and asked once at once
429, 5xx                              | back-off, no less than Retry-After; from where it was
403, 404, a bad certificate           | back-off; the failed answer has a `ConfigurationError`
anything else                         | back-off, and everything anew where events may be lost

Back-off is 0.8 s, doubling to 30 s, of that 5 to 100 % by chance; what comes through begins it anew.
Kubernetes' API concepts ("Efficient detection of changes", "Streaming lists") and client-go's reflector
are where this comes from.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from peerdiscover.answers import Answer, Outcome
from peerdiscover.errors import ConfigurationError
from peerdiscover.names import ServiceName

from ._access import Access
from ._rights import forbidden_text, who_was_refused
from ._slices import Slices
from ._troubles import BackOff, certificate_trouble, message_of, said_by, seconds_of

__all__ = ["Request", "Wait", "Watching"]

PAGE = 500
GRACE = 5.0
"""Seconds over `timeoutSeconds` that a watch may be silent."""
LINE_MAX = 16 * 2**20
BODY_MAX = 64 * 2**20
"""Bytes. A slice has at most 1,000 endpoints, which are some 500 kB."""
ENOUGH_OF_AN_ERROR = 64 * 2**10
LASTED = 5.0
"""Seconds after which a watch that broke had been a good one, whether anything happened in it or not."""

_END = "k8s.io/initial-events-end"


@dataclass(frozen=True, slots=True)
class Request:
    """A GET to make now."""

    path: str
    query: Mapping[str, str]
    soon: float
    """Seconds for connecting, and for the headers."""
    silence: float
    """Seconds that the body may be silent."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do for so many seconds."""

    seconds: float


class Watching:
    """One Service's slices, kept up to date by what it is told."""

    def __init__(
        self,
        access: Access,
        service: ServiceName,
        namespace: str,
        name: str,
        *,
        soon: float,
        timeout_seconds: float,
        random: Callable[[], float],
        own_namespace: str | None = None,
        watch_list: bool = True,
    ) -> None:
        self._access = access
        self._service = service
        self._namespace = namespace
        self._name = name
        self._soon = soon
        self._timeout_seconds = timeout_seconds
        self._random = random
        self._own_namespace = own_namespace
        self.watch_list: bool = watch_list
        """Whether the server is believed to serve it."""
        self._slices: Slices | None = None
        """What is shown; None before anything was whole."""
        self._incoming: Slices | None = None
        """What is being collected; None while nothing is."""
        self._version: str | None = None
        """The resourceVersion that was reached; None: begin with everything."""
        self._token: str | None = None
        """Where the next page begins."""
        self._looks = False
        self._may_look = True
        self._looked_once = False
        self._there: bool | None = None
        """Whether there is a Service, though there are no slices; None: that is not known."""
        self._shown: Answer | None = None
        self._step: Callable[[], Request] = self._watch_list
        self._status = 0
        self._retry_after = 0.0
        self._body = bytearray()
        self.over: bool = False
        """The rest of the response is not wanted."""
        self._came = False
        self._began = 0.0
        self._length = 0
        self._back_off = BackOff(random)
        self._wait = 0.0

    # What to do

    def step(self, now: float) -> Request | Wait:
        """What to do now."""
        if self._wait > 0:
            wait, self._wait = self._wait, 0.0
            return Wait(wait)
        if self._looks:
            self._step = self._look
        elif self._version is not None and self._incoming is None:
            self._step = self._watch
        elif self.watch_list and self._token is None:
            self._step = self._watch_list
        else:
            self._step = self._list
        self._status, self._retry_after, self.over, self._came = 0, 0.0, False, False
        self._began = now
        self._body.clear()
        return self._step()

    @property
    def collecting(self) -> bool:
        """A watch is still at its beginning: everything has to be there within the `soon` of its request."""
        return self._incoming is not None

    def _watch_list(self) -> Request:
        self._incoming = self._fresh()
        initial = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
        return self._get(self._slices_path, {**self._selector, **self._watched(), **initial}, self._silence)

    def _watch(self) -> Request:
        assert self._version is not None
        query = {**self._selector, **self._watched(), "resourceVersion": self._version}
        return self._get(self._slices_path, query, self._silence)

    def _list(self) -> Request:
        if self._token is None or self._incoming is None:
            self._incoming = self._fresh()
        query = {**self._selector, "limit": str(PAGE)}
        if self._token is not None:
            query["continue"] = self._token
        return self._get(self._slices_path, query, self._soon)

    def _look(self) -> Request:
        path = f"/api/v1/namespaces/{quote(self._namespace)}/services/{quote(self._service.service)}"
        return self._get(path, {}, self._soon)

    def _watched(self) -> dict[str, str]:
        # A fifth by chance, so that a thousand pods that began together do not begin anew together.
        self._length = max(1, round(self._timeout_seconds * (1 - 0.2 * self._random())))
        return {"watch": "1", "allowWatchBookmarks": "true", "timeoutSeconds": str(self._length)}

    @property
    def _silence(self) -> float:
        return self._length + GRACE

    @property
    def _slices_path(self) -> str:
        return f"/apis/discovery.k8s.io/v1/namespaces/{quote(self._namespace)}/endpointslices"

    @property
    def _selector(self) -> dict[str, str]:
        return {"labelSelector": f"kubernetes.io/service-name={self._service.service}"}

    def _get(self, path: str, query: Mapping[str, str], silence: float) -> Request:
        return Request(path, query, self._soon, silence)

    def _fresh(self) -> Slices:
        return Slices(self._service, self._name)

    # What came

    def begun(self, status: int, headers: Mapping[str, str]) -> None:
        """The status and the headers of a response."""
        self._status = status
        self._retry_after = seconds_of(headers.get("retry-after"))

    def data(self, chunk: bytes) -> list[Answer]:
        """A piece of the body; what follows from it. `ValueError` where it cannot be what it should be."""
        self._body += chunk
        if self._status != 200:
            self.over = len(self._body) > ENOUGH_OF_AN_ERROR
            return []
        if self._step in (self._watch, self._watch_list):
            return self._events()
        if len(self._body) > BODY_MAX:
            raise ValueError(f"a list of more than {BODY_MAX} bytes")
        return []

    def ended(self, now: float) -> list[Answer]:
        """The response is over, by itself or because `over` said so."""
        if self._status != 200:
            message = message_of(bytes(self._body[:ENOUGH_OF_AN_ERROR]))
            return self._refusal(self._status, message, self._retry_after)
        if self._step == self._list:
            return self._page()
        if self._step == self._look:
            return self._looked(True)
        if self.over:
            return []
        if now - self._began >= self._length - 1:
            self._anew()  # its time was over
            return []
        return self._broke("the API server ended the watch before its time", now)

    def failed(self, error: BaseException, now: float, *, silent: bool = False) -> list[Answer]:
        """The request failed. `silent`: nothing came for too long."""
        trouble = certificate_trouble(error)
        if trouble is not None:
            return self._fails(self._access.distrusted(trouble))
        if isinstance(error, ConfigurationError):
            return self._fails(error)
        if self._step == self._look:
            return self._looked(None)
        if silent and self._step == self._watch_list and self._status == 200 and self._incoming is not None:
            self.watch_list = False  # somebody in between may not know it
        if silent or isinstance(error, ValueError):
            self._anew()
        return self._broke(said_by(error), now)

    # Events

    def _events(self) -> list[Answer]:
        *lines, rest = bytes(self._body).split(b"\n")
        self._body = bytearray(rest)
        if len(rest) > LINE_MAX:
            raise ValueError(f"an event of more than {LINE_MAX} bytes")
        confirms = False
        for line in lines:
            if not line.strip():
                continue
            event = json.loads(line)
            try:
                kind, given = event["type"], event["object"]
                if kind == "ERROR":
                    self.over = True
                    return [*self._show(confirms), *self._error(given)]
                confirms |= self._event(kind, given, given["metadata"])
            except (KeyError, TypeError, AttributeError):
                raise ValueError("an event of the watch that is none") from None
            if self.over:
                break
        return self._show(confirms)

    def _event(self, kind: str, given: Any, metadata: Any) -> bool:
        """Take one event in; returns whether it confirms the set."""
        collecting = self._incoming is not None
        slices = self._incoming if self._incoming is not None else self._slices
        assert slices is not None
        if kind in ("ADDED", "MODIFIED"):
            slices.put(given)
        elif kind == "DELETED":
            slices.remove(given)
        elif kind != "BOOKMARK":
            raise ValueError(f"an event of the type {kind!r}")
        elif collecting and (metadata.get("annotations") or {}).get(_END) != "true":
            return False
        elif collecting:
            self._is_whole()
        if self._incoming is None:
            self._version = metadata["resourceVersion"]
            self._is_well()
            self._want_look()
        return kind == "BOOKMARK"

    def _error(self, given: Any) -> list[Answer]:
        """An error inside the stream: a Status."""
        code = given.get("code")
        details = given.get("details") or {}
        retry = seconds_of(str(details.get("retryAfterSeconds", "")))
        return self._refusal(code if type(code) is int else 0, str(given.get("message", "")), retry)

    # Lists

    def _page(self) -> list[Answer]:
        try:
            page = json.loads(self._body)
            items, metadata = page.get("items") or [], page["metadata"]
            assert self._incoming is not None
            for item in items:
                self._incoming.put(item)
            self._token = metadata.get("continue") or None
            version = metadata["resourceVersion"]
        except (ValueError, KeyError, TypeError, AttributeError):
            self._anew()
            return self._fails("a list of EndpointSlices that is none")
        if self._token is not None:
            return []
        self._version = version
        self._is_whole()
        self._is_well()
        self._want_look()
        return self._show(confirms=True)

    # The set

    def _is_whole(self) -> None:
        self._slices, self._incoming = self._incoming, None

    def _is_well(self) -> None:
        self._back_off.is_well()
        self._came = True

    def _want_look(self) -> None:
        """Whether there is such a Service is asked once each time that it has no slices."""
        if self._slices:
            self._looked_once, self._there = False, None
        elif self._may_look and not self._looked_once:
            self._looks = self.over = True

    def _looked(self, there: bool | None) -> list[Answer]:
        self._looks, self._looked_once, self._there = False, True, there
        return self._show(confirms=True)

    def _show(self, confirms: bool) -> list[Answer]:
        """The answer, where it is another one than before, or confirms it."""
        if self._slices is None or self._incoming is not None or self._looks:
            return []
        answer = self._slices.answer()
        if not self._slices:
            answer = self._nobody(answer)
        answer = self._signed(answer)
        if not confirms and answer == self._shown:
            return []
        self._shown = answer
        return [answer]

    def _nobody(self, answer: Answer) -> Answer:
        where = f"Service {self._service.service} in the namespace {self._namespace}"
        if self._there:
            return answer.with_(
                outcome=Outcome.EMPTY, hint=f"the {where} has no EndpointSlices: no pod at all"
            )
        if self._there is False:
            return answer.with_(hint=f"there is no {where}")
        return answer.with_(hint=f"there are no EndpointSlices of a {where}")

    def _signed(self, answer: Answer) -> Answer:
        return answer.with_(name=self._name, servers=(urlsplit(self._access.server).netloc,))

    # What goes wrong

    def _anew(self) -> None:
        """Begin with everything; what is shown stays."""
        self._version = self._incoming = self._token = None

    def _refusal(self, status: int, message: str, retry_after: float) -> list[Answer]:
        """A status that is none of success, or an error inside the stream."""
        if self._step == self._look:
            self._may_look = status != 403
            return self._looked(False if status == 404 else None)
        self._incoming = None
        error = self._error_of(status, message)
        if status == 401:
            self._access.refused()
            return self._once_at_once(error)
        if status == 410:
            self._anew()
            return self._once_at_once(error)
        if status in (400, 422) and self._step == self._watch_list:
            self.watch_list = False
            return []
        if status not in (403, 404, 429, 500, 502, 503, 504):
            self._anew()
        return self._fails(error, retry_after)

    def _error_of(self, status: int, message: str) -> BaseException | str:
        if status == 401:
            return ConfigurationError(
                f"the API server does not accept the credentials (401): {self._access.describe()}"
            )
        if status == 403:
            who = who_was_refused(message)
            return ConfigurationError(
                forbidden_text(self._namespace, self._service.service, who, self._own_namespace)
            )
        if status == 404:
            return ConfigurationError(
                f"{self._access.server} does not serve discovery.k8s.io/v1 (404): {message}"
            )
        return f"{status} {message}".strip()

    def _once_at_once(self, why: BaseException | str) -> list[Answer]:
        """Ask again at once, but not a second time before something came of it."""
        return [] if self._back_off.once_at_once() else self._fails(why)

    def _broke(self, why: str, now: float) -> list[Answer]:
        """The connection is gone. One that had been good is made anew at once, and nobody is told."""
        if self._incoming is not None:
            self._incoming = None
        if self._came or (self._status == 200 and now - self._began >= LASTED):
            self._came = False
            return []
        return self._fails(why)

    def _fails(self, why: BaseException | str, at_least: float = 0.0) -> list[Answer]:
        self._incoming = self._token = None
        self._wait = self._back_off.wait(at_least)
        return [self._signed(Answer.failed(why))]
