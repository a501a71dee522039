"""The steps of a watch: each response, and what follows from it. No server; the time is watch."""

from __future__ import annotations

import itertools
import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peerdiscover import ConfigurationError, Outcome, ServiceName
from peerdiscover.answers import Answer
from peerdiscover.sources.kubernetes import _events, _reflector
from peerdiscover.sources.kubernetes._commands import Find, Get, ServerState, Target, Wait
from peerdiscover.sources.kubernetes._reflector import Reflector

TARGET = Target("10.96.0.1", "https://10.96.0.1, by arguments", "prod", "web.prod.svc.cluster.local.", "prod")


class Watch:
    """A watch, its clock, and what it asked for and answered."""

    def __init__(
        self,
        *,
        state: ServerState | None = None,
        timeout_seconds: float = 300.0,
        random: float = 1.0,
        service: str = "web.prod:http",
    ) -> None:
        self.state = state or ServerState()
        self.now = 1000.0
        self.reflector = Reflector(
            ServiceName.parse(service), self.state, lambda: random, timeout_seconds=timeout_seconds
        )
        self.answers: list[Answer] = []
        assert isinstance(self.reflector.step(self.now), Find)
        self.reflector.found(TARGET)

    def step(self) -> Any:
        """The next step; a wait is waited for."""
        step = self.reflector.step(self.now)
        if isinstance(step, Wait):
            self.now += step.seconds
            step = self.reflector.step(self.now)
        assert isinstance(step, Get)
        return step

    def query(self) -> dict[str, str]:
        """What the next request asks for."""
        parts = urlsplit(self.step().path)
        assert parts.path == "/apis/discovery.k8s.io/v1/namespaces/prod/endpointslices"
        return {key: values[0] for key, values in parse_qs(parts.query).items()}

    def wait(self) -> float:
        """For how long it waits now."""
        step = self.reflector.step(self.now)
        return step.seconds if isinstance(step, Wait) else 0.0

    def head(self, status: int = 200, retry_after: str | None = None) -> list[Answer]:
        return self._note(self.reflector.head(status, retry_after, self.now))

    def data(self, *events: Any, raw: bytes = b"") -> list[Answer]:
        chunk = raw or b"".join(json.dumps(event).encode() + b"\n" for event in events)
        return self._note(self.reflector.data(chunk, self.now))

    def end(self) -> list[Answer]:
        return self._note(self.reflector.data(None, self.now))

    def failed(self, error: BaseException) -> list[Answer]:
        return self._note(self.reflector.failed(error, self.now))

    def refuse(self, status: int, message: str = "no", retry_after: str | None = None) -> list[Answer]:
        """A whole response that is no success."""
        self.head(status, retry_after)
        before = self.data(raw=json.dumps({"kind": "Status", "message": message}).encode())
        return before if self.reflector.done else self.end()

    def synced(self, *addresses: str) -> list[Answer]:
        """It asks, and is told that those are there."""
        self.step()
        self.head()
        return self.data(*(added(a) for a in addresses), END)

    def _note(self, answers: list[Answer]) -> list[Answer]:
        self.answers += answers
        return answers


def item(address: str, version: int = 7, *, ready: bool = True, name: str = "") -> Any:
    return {
        "metadata": {"name": name or f"web-{address}", "resourceVersion": str(version)},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 80}],
        "endpoints": [{"addresses": [address], "conditions": {"ready": ready}}],
    }


def added(address: str, version: int = 7, **more: Any) -> Any:
    return {"type": "ADDED", "object": item(address, version, **more)}


def modified(address: str, version: int = 8, **more: Any) -> Any:
    return {"type": "MODIFIED", "object": item(address, version, **more)}


def deleted(address: str, version: int = 9) -> Any:
    return {"type": "DELETED", "object": item(address, version)}


def bookmark(version: int = 20, **annotations: str) -> Any:
    metadata = {"resourceVersion": str(version), "annotations": annotations}
    return {"type": "BOOKMARK", "object": {"kind": "EndpointSlice", "metadata": metadata}}


END = bookmark(10, **{"k8s.io/initial-events-end": "true"})
EXPIRED = {"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired", "message": "old"}}


def there(answers: list[Answer]) -> set[str]:
    """Who is there by the one answer that there is."""
    (answer,) = answers
    assert answer.is_evidence, answer
    return {endpoint.addresses[0] for endpoint in answer.endpoints}


def page(*addresses: str, version: int = 10, more: str = "") -> bytes:
    metadata = {"resourceVersion": str(version), **({"continue": more} if more else {})}
    return json.dumps({"metadata": metadata, "items": [item(a) for a in addresses]}).encode()


# Beginning


def test_a_watch_that_begins_with_all_that_is_there() -> None:
    watch = Watch()
    assert watch.query() == {
        "labelSelector": "kubernetes.io/service-name=web",
        "sendInitialEvents": "true",
        "resourceVersionMatch": "NotOlderThan",
        "watch": "1",
        "allowWatchBookmarks": "true",
        "timeoutSeconds": "270",
    }
    watch.head()
    assert watch.data(added("10.0.0.1"), bookmark(8)) == []
    assert watch.data(added("10.0.0.2")) == [], "nothing is told before the set is whole"
    assert there(watch.data(END)) == {"10.0.0.1", "10.0.0.2"}
    assert there(watch.data(deleted("10.0.0.1"))) == {"10.0.0.2"}
    assert there(watch.data(modified("10.0.0.2", ready=False))) == set()


def test_the_time_of_a_watch_is_drawn_so_that_not_all_end_together() -> None:
    assert Watch(random=0.0).query()["timeoutSeconds"] == "225"
    assert Watch(random=0.5).query()["timeoutSeconds"] == "248"


def test_one_answer_for_all_that_came_together() -> None:
    watch = Watch()
    watch.synced("10.0.0.1")
    assert there(watch.data(added("10.0.0.2"), added("10.0.0.3"), deleted("10.0.0.1"))) == {
        "10.0.0.2",
        "10.0.0.3",
    }


def test_what_peers_do_not_show_is_no_answer_and_a_bookmark_is_one() -> None:
    watch = Watch()
    watch.synced("10.0.0.1")
    assert watch.data(modified("10.0.0.1")) == []
    assert watch.data({"type": "NEWS", "object": {}}) == []
    assert watch.data(raw=b"\n\n") == []
    assert there(watch.data(bookmark())) == {"10.0.0.1"}


STREAM = b"".join(
    json.dumps(event, ensure_ascii=False).encode() + b"\n"
    for event in (
        added("10.0.0.1"), added("10.0.0.2"), END, modified("10.0.0.2", name="\u2028 \u0085 äö"),
        deleted("10.0.0.1"), bookmark(30),
    )
)  # fmt: skip


@given(st.lists(st.integers(0, len(STREAM)), max_size=8))
@settings(max_examples=200, deadline=None)
def test_chunks_cut_anywhere(cuts: list[int]) -> None:
    watch = Watch()
    watch.step()
    watch.head()
    places = [0, *sorted(cuts), len(STREAM)]
    for begin, end in itertools.pairwise(places):
        if begin < end:
            watch.data(raw=STREAM[begin:end])
    assert there(watch.answers[-1:]) == {"10.0.0.2"}
    watch.failed(OSError("gone"))
    assert watch.query()["resourceVersion"] == "30"


def test_an_event_in_chunks_of_one_byte_costs_no_more_than_its_bytes() -> None:
    """Looking at all that came before for each byte would take minutes."""
    watch = Watch()
    watch.step()
    watch.head()
    event = json.dumps({"type": "ADDED", "object": {**item("10.0.0.1"), "more": "x" * 2_000_000}}).encode()
    for at in range(len(event)):
        watch.reflector.data(event[at : at + 1], watch.now)
    assert there(watch.data(raw=b"\n" + json.dumps(END).encode() + b"\n")) == {"10.0.0.1"}


# By a list


@pytest.mark.parametrize("status", [400, 422])
def test_a_server_that_refuses_it_is_asked_for_a_list_at_once(status: int) -> None:
    watch = Watch()
    watch.step()
    assert watch.refuse(status) == []
    assert watch.wait() == 0
    assert watch.query() == {"labelSelector": "kubernetes.io/service-name=web", "limit": "20"}
    watch.head()
    watch.data(raw=page("10.0.0.1", more="next"))
    assert watch.end() == []
    assert watch.query()["continue"] == "next"
    watch.head()
    body = page("10.0.0.2", version=11)
    watch.data(raw=body[:20])
    watch.data(raw=body[20:])
    assert there(watch.end()) == {"10.0.0.1", "10.0.0.2"}
    query = watch.query()
    assert (query["resourceVersion"], query["watch"], "sendInitialEvents" in query) == ("11", "1", False)
    watch.head()
    assert there(watch.data(added("10.0.0.3"))) == {"10.0.0.1", "10.0.0.2", "10.0.0.3"}
    assert watch.state.no_watch_list
    assert "limit" in Watch(state=watch.state).query(), "the next watch knows"


def test_a_server_that_does_not_know_it() -> None:
    """It sends what is there, and no bookmark: after half of the time a list is asked for, at once."""
    watch = Watch()
    watch.step()
    watch.head()
    watch.data(added("10.0.0.1"))
    assert watch.reflector.deadline == watch.now + 2.5
    watch.now += 2.5
    assert watch.failed(TimeoutError()) == []
    assert "limit" in watch.query()
    again = Watch(state=watch.state)
    assert "sendInitialEvents" in again.query(), "it may have been slow, that once"
    again.head()
    again.now += 2.5
    assert again.failed(TimeoutError()) == []
    assert "limit" in Watch(state=watch.state).query(), "twice in a row is no accident"


def test_a_server_that_was_slow_once() -> None:
    state = ServerState(late=1)
    Watch(state=state).synced("10.0.0.1")
    assert state == ServerState()


def test_the_pages_have_expired() -> None:
    watch = Watch(state=ServerState(no_watch_list=True))
    watch.step()
    watch.head()
    watch.data(raw=page("10.0.0.1", more="next"))
    watch.end()
    watch.step()
    assert watch.refuse(410) == []
    assert "continue" not in watch.query()
    watch.head()
    watch.data(raw=page("10.0.0.2"))
    assert there(watch.end()) == {"10.0.0.2"}


def test_a_list_that_is_none() -> None:
    for body in b"{}", b"[]", b"{", b'{"metadata": {"resourceVersion": "1"}, "items": [7]}', b"[" * 100_000:
        watch = Watch(state=ServerState(no_watch_list=True))
        watch.step()
        watch.head()
        watch.data(raw=body)
        (answer,) = watch.end()
        assert "a malformed list" in str(answer.error)


# Nobody


@pytest.mark.parametrize(
    ("status", "outcome", "hint"),
    [
        (200, Outcome.EMPTY, "the Service is there"),
        (404, Outcome.NOT_FOUND, "there is no Service web in the namespace prod"),
        (403, Outcome.NOT_FOUND, "there are no EndpointSlices"),
        (500, Outcome.NOT_FOUND, "there are no EndpointSlices"),
        (0, Outcome.NOT_FOUND, "there are no EndpointSlices"),
    ],
)
def test_without_slices_the_service_is_asked_for(status: int, outcome: Outcome, hint: str) -> None:
    watch = Watch()
    assert watch.synced() == []
    assert watch.reflector.done
    assert watch.step().path == "/api/v1/namespaces/prod/services/web"
    assert watch.reflector.deadline <= watch.now + 1.25
    if status:
        watch.head(status)
        watch.data(raw=b"{}")
        (answer,) = watch.end()
    else:
        (answer,) = watch.failed(OSError("gone"))
    assert (answer.outcome, answer.authoritative) == (outcome, True)
    assert hint in answer.hint
    assert watch.query()["resourceVersion"] == "10"
    watch.head()
    assert there(watch.data(added("10.0.0.1"))) == {"10.0.0.1"}
    assert bool(watch.state.forbidden) is (status == 403)
    if status == 403:
        again = Watch(state=watch.state)
        (answer,) = again.synced()
        assert answer.outcome is Outcome.NOT_FOUND


# Ends


def test_the_end_of_its_time_is_a_whole_sync_at_once() -> None:
    watch = Watch()
    watch.synced("10.0.0.1")
    watch.now += 300
    assert watch.end() == []
    assert watch.wait() == 0
    query = watch.query()
    assert query["sendInitialEvents"] == "true"
    assert "resourceVersion" not in query
    watch.head()
    watch.data(added("10.0.0.2"))
    assert there(watch.data(END)) == {"10.0.0.2"}, "a DELETED that was missed does not last"


@pytest.mark.parametrize("how", ["end", "break"])
def test_an_early_end_is_taken_up_where_it_was(how: str) -> None:
    watch = Watch()
    watch.synced("10.0.0.1")
    watch.data(added("10.0.0.2", 33))
    watch.now += 100
    assert (watch.end() if how == "end" else watch.failed(OSError("reset"))) == []
    assert 0 < watch.wait() <= 0.8
    query = watch.query()
    assert (query["resourceVersion"], "sendInitialEvents" in query) == ("33", False)
    assert int(query["timeoutSeconds"]) <= 200, "the whole sync stays due when it was"
    assert watch.head() == [], "nothing was told to be wrong, and nothing is told to be right"
    assert there(watch.data(added("10.0.0.3"))) == {"10.0.0.1", "10.0.0.2", "10.0.0.3"}


def test_a_stream_that_is_cut_again_and_again_cannot_put_off_the_sync() -> None:
    watch = Watch(timeout_seconds=60)
    watch.synced("10.0.0.1")
    synced = watch.now
    for _ in range(20):
        watch.now += 10
        watch.end()
        if "sendInitialEvents" in watch.query():
            break
        watch.head()
    assert 50 <= watch.now - synced <= 72


def test_a_stream_that_ends_at_once_does_not_spin() -> None:
    watch = Watch()
    watch.synced("10.0.0.1")
    waits = []
    for _ in range(9):
        watch.end()
        waits.append(watch.wait())
        watch.step()
        watch.head()
    assert waits == pytest.approx([0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30, 30, 30])
    assert [a.outcome for a in watch.answers[1:3]] == [Outcome.FAILED, Outcome.RESOLVED], (
        "and is told in the end"
    )


def test_nothing_came_any_more() -> None:
    """The watch has its time, and a little more; then the connection is dead. Both are within 300 s."""
    watch = Watch()
    watch.synced("10.0.0.1")
    assert watch.reflector.deadline == watch.now + 270 + _reflector.GRACE
    watch.now = watch.reflector.deadline
    assert watch.failed(TimeoutError()) == []
    assert "resourceVersion" not in watch.query()


# Failures


def test_failures_are_told_and_spaced_and_the_version_is_kept() -> None:
    watch = Watch()
    watch.synced("10.0.0.1")
    watch.now += 100
    watch.failed(OSError("reset"))
    waits = []
    for _ in range(8):
        watch.step()
        (answer,) = watch.failed(ConnectionRefusedError("refused"))
        assert answer.outcome is Outcome.FAILED
        assert "refused" in str(answer.error)
        assert (answer.name, answer.servers) == (TARGET.name, (TARGET.server,))
        waits.append(watch.wait())
    assert waits == pytest.approx([1.6, 3.2, 6.4, 12.8, 25.6, 30, 30, 30])
    query = watch.query()
    assert (query["sendInitialEvents"], query["resourceVersion"]) == ("true", "10"), "not older than that"
    watch.head()
    watch.data(added("10.0.0.2"))
    assert there(watch.data(END)) == {"10.0.0.2"}
    watch.now += _reflector.LASTED
    watch.failed(OSError("reset"))
    assert watch.wait() <= 0.8, "a stream that lasted begins anew"


@pytest.mark.parametrize("end", [EXPIRED, {"type": "ERROR", "object": {"code": 500, "message": "etcd"}}])
def test_a_stream_that_lasted_begins_anew_whatever_it_ends_with(end: Any) -> None:
    watch = Watch()
    for _ in range(6):
        watch.step()
        watch.failed(OSError("refused"))
    watch.synced("10.0.0.1")
    watch.now += _reflector.LASTED
    watch.data(end)
    assert watch.wait() <= 0.8


def test_a_plain_server_that_comes_back_is_told_to_be_there() -> None:
    watch = Watch(state=ServerState(no_watch_list=True))
    watch.step()
    watch.head()
    watch.data(raw=page("10.0.0.1"))
    watch.end()
    watch.step()
    watch.failed(OSError("refused"))
    assert watch.query()["resourceVersion"] == "10"
    assert there(watch.head()) == {"10.0.0.1"}
    watch.now += 100
    watch.failed(OSError("reset"))
    watch.step()
    assert watch.head() == [], "it was told already"


def test_jitter_is_full() -> None:
    watch = Watch(random=0.0)
    watch.step()
    watch.failed(OSError())
    assert watch.wait() == pytest.approx(0.04)


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("retry_after", "least", "most"),
    [("7", 7, 7), ("3600", 60, 60), (None, 0.1, 1.6), ("Tue, 01 Jan", 0.1, 1.6)],
)
def test_retry_after(status: int, retry_after: str | None, least: float, most: float) -> None:
    watch = Watch()
    watch.synced("10.0.0.1")
    watch.failed(OSError("reset"))
    watch.step()
    (answer,) = watch.refuse(status, "slow down", retry_after)
    assert str(answer.error) == f"{status}: slow down"
    assert least - 0.01 <= watch.wait() <= most + 0.01
    assert watch.query()["resourceVersion"] == "10"


def test_a_server_that_is_at_fault_may_have_lost_the_version_too() -> None:
    watch = Watch()
    watch.synced("10.0.0.1")
    watch.failed(OSError("reset"))
    watch.step()
    (answer,) = watch.refuse(500, "etcd was restored")
    assert str(answer.error) == "500: etcd was restored"
    assert "resourceVersion" not in watch.query()


def test_an_error_in_the_stream() -> None:
    watch = Watch()
    watch.synced("10.0.0.1")
    error = {"code": 429, "message": "too many", "details": {"retryAfterSeconds": 9}}
    kept, failed = watch.data(added("10.0.0.2", 33), {"type": "ERROR", "object": error})
    assert there([kept]) == {"10.0.0.1", "10.0.0.2"}, "what came before it stands"
    assert "too many" in str(failed.error)
    assert watch.wait() == 9
    assert watch.query()["resourceVersion"] == "33"
    watch.head()
    (failed,) = watch.data({"type": "ERROR", "object": {"code": 500, "message": "etcd"}})
    assert "etcd" in str(failed.error)
    assert "resourceVersion" not in watch.query(), "the version may be what is wrong"


@pytest.mark.parametrize("where", ["stream", "status"])
def test_410_is_a_sync_at_once_and_the_set_stays(where: str) -> None:
    watch = Watch()
    watch.synced("10.0.0.1")
    if where == "stream":
        assert watch.data(EXPIRED) == []
        assert watch.reflector.done
    else:
        watch.now += 100
        watch.failed(OSError("reset"))
        watch.step()
        assert watch.refuse(410) == []
    assert watch.wait() <= (0 if where == "stream" else 1.6)
    assert "resourceVersion" not in watch.query()
    watch.head()
    assert there(watch.data(added("10.0.0.2"), END)) == {"10.0.0.2"}


def test_410_for_ever_does_not_spin() -> None:
    watch = Watch()
    watch.synced("10.0.0.1")
    watch.data(EXPIRED)
    waits = []
    for _ in range(4):
        waits.append(watch.wait())
        watch.step()
        watch.head()
        watch.data(EXPIRED)
    assert waits == pytest.approx([0, 1.6, 3.2, 6.4])
    assert watch.answers[-1].outcome is Outcome.FAILED


def test_401_is_tried_again_once_with_a_token_read_anew() -> None:
    watch = Watch()
    watch.step()
    assert watch.refuse(401) == []
    assert watch.wait() == 0
    assert watch.step().reload_token
    (answer,) = watch.refuse(401, "Unauthorized")
    assert isinstance(answer.error, ConfigurationError)
    assert "the credentials are not accepted" in str(answer.error)
    assert watch.wait() > 0
    assert not watch.step().reload_token
    watch.refuse(401)
    assert watch.step().reload_token
    watch.head()
    assert there(watch.data(added("10.0.0.1"), END)) == {"10.0.0.1"}


def test_403_says_what_to_apply() -> None:
    watch = Watch()
    watch.step()
    (answer,) = watch.refuse(403, 'User "system:serviceaccount:moon:me" cannot watch resource')
    assert isinstance(answer.error, ConfigurationError)
    assert "kind: RoleBinding" in str(answer.error)
    assert 'name: "me", namespace: "moon"' in str(answer.error)


def test_404_says_what_is_not_served() -> None:
    watch = Watch()
    watch.step()
    (answer,) = watch.refuse(404, "the server could not find the requested resource")
    assert isinstance(answer.error, ConfigurationError)
    assert "discovery.k8s.io/v1 is not served there (https://10.96.0.1, by arguments)" in str(answer.error)


# Bad input


@pytest.mark.parametrize(
    "line",
    [
        b"{",
        b"[]",
        b"7",
        b"{}",
        b'{"type": "ADDED"}',
        b'{"type": "ADDED", "object": 7}',
        b"[" * 100_000,
        b"\xff",
    ],
)
def test_a_malformed_event_is_a_failure_and_a_whole_sync(line: bytes) -> None:
    watch = Watch()
    watch.synced("10.0.0.1")
    (answer,) = watch.data(raw=line + b"\n")
    assert "a malformed event" in str(answer.error)
    assert watch.reflector.done
    assert "resourceVersion" not in watch.query()


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "MAX_EVENT", "MAX_BODY", "MAX_ERROR_BODY":
        monkeypatch.setattr(_events, name, 1000)
    watch = Watch()
    watch.synced("10.0.0.1")
    assert watch.data(raw=b"x" * 1000) == []
    (answer,) = watch.data(raw=b"x")
    assert "an event of more than" in str(answer.error)
    watch = Watch(state=ServerState(no_watch_list=True))
    watch.step()
    watch.head()
    watch.data(raw=b"x" * 1000)
    (answer,) = watch.data(raw=b"x")
    assert "a response of more than" in str(answer.error)
    assert watch.reflector.done
    watch.step()
    watch.head(500)
    watch.data(raw=b"x" * 1000)
    (answer,) = watch.data(raw=b"x")
    assert str(answer.error).startswith("500: xxx")
    assert len(str(answer.error)) < 300


# Whatever happens


REAL = st.sampled_from(
    [added("10.0.0.1"), added("10.0.0.2"), modified("10.0.0.1", ready=False), deleted("10.0.0.2"), END,
     bookmark(), EXPIRED]
)  # fmt: skip
HAPPENINGS = st.one_of(
    st.tuples(st.just("data"), st.lists(REAL, min_size=1, max_size=4)),
    st.tuples(st.just("end"), st.none()),
    st.tuples(st.just("break"), st.sampled_from([OSError("reset"), TimeoutError()])),
    st.tuples(st.just("status"), st.sampled_from([200, 400, 401, 403, 404, 410, 422, 429, 500, 503])),
    st.tuples(st.just("later"), st.floats(0, 400)),
)


@given(st.booleans(), st.lists(HAPPENINGS, max_size=25))
@settings(max_examples=300, deadline=None)
def test_it_never_ends_and_never_spins(plain: bool, happenings: list[tuple[str, Any]]) -> None:
    watch = Watch(state=ServerState(no_watch_list=plain))
    at_once = 0
    watch.step()
    headed = False
    for kind, what in happenings:
        began = watch.now
        if kind == "later":
            watch.now += what
            at_once = 0
            continue
        if not headed and kind in ("data", "end"):
            watch.head(200)
            headed = True
        if kind == "data" and not watch.reflector.done:
            watch.data(*what)
        elif kind == "end":
            watch.end()
        elif kind == "break":
            watch.failed(what)
        elif kind == "status" and not headed:
            watch.head(what)
            if what != 200:
                watch.data(raw=b"{}")
                watch.end()
            else:
                headed = True
        if watch.reflector.done:
            watch.step()
            headed = False
            at_once = at_once + 1 if watch.now == began else 0
        # A sync, the Service, a watch, and again for a version too old; a new token for each sync and watch.
        assert at_once <= 10
    assert isinstance(watch.reflector.step(watch.now), Get | Wait)


def test_a_stream_that_breaks_as_its_time_ends_is_followed_by_a_whole_sync() -> None:
    """It is not resumed for the last moment."""
    watch = Watch()
    watch.synced("10.0.0.1")
    watch.now += 299.9
    watch.failed(ConnectionResetError())
    watch.now += 1.0
    assert "sendInitialEvents" in watch.query()
    assert "resourceVersion" not in watch.query()
