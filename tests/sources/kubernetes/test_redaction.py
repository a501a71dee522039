"""Servers that send our credentials back, and texts that are not fit for a terminal."""

from __future__ import annotations

import json
import logging
import socket
import ssl
import traceback
import tracemalloc
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerdiscover import Discovery, Kubernetes, Policy, ResolutionTimeoutError
from peerdiscover.answers import Answer
from peerdiscover.sources.kubernetes import _endpointslices
from peerdiscover.sources.kubernetes._commands import ServerState
from peerdiscover.sources.kubernetes._config import find_cluster
from peerdiscover.sources.kubernetes._events import TooLargeError, parse_page
from peerdiscover.sources.kubernetes._phases import MAX_PAGES
from peerdiscover.sources.kubernetes._redaction import Redactor
from tests.tools.certificates import Authority

from .test_drivers import Fake, whole
from .test_reflector import END, TARGET, Watch, added, item

TOKEN = "s3cr3t-5e7a.abc_def+/'\"<&"
ECHO = f"bad request headers: Host: x\r\nAuthorization: Bearer {TOKEN}\r\n"


@pytest.fixture
def watch() -> Watch:
    """A watch that was up, whose server knows the token."""
    found = Watch()
    config = find_cluster("https://10.96.0.1", token=TOKEN)
    config.authorization(0.0)
    found.reflector.found(replace(TARGET, redactor=config.redactor))
    return found


def shown(answer: Answer) -> str:
    return f"{answer} {answer!r} {answer.error} {answer.dropped} {answer.hint}"


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500])
@pytest.mark.parametrize("body", ["status", "page", "python"])
def test_a_refusal_that_sends_the_token_back(watch: Watch, status: int, body: str) -> None:
    bodies = {
        "status": json.dumps({"kind": "Status", "message": ECHO}).encode(),
        "page": f"<html>{ECHO.replace('<', '&lt;').replace('&l', '&amp;l')}".encode(),
        "python": repr(ECHO.encode()).encode(),
    }
    for _ in range(2):  # a 401 is repeated once
        watch.step()
        watch.head(status)
        watch.data(raw=bodies[body])
        watch.end()
    assert watch.answers
    for answer in watch.answers:
        assert "s3cr3t" not in shown(answer)


@pytest.mark.parametrize(
    "line",
    [
        json.dumps({"type": "ERROR", "object": {"code": 500, "message": ECHO}}).encode(),
        ECHO.encode(),
        json.dumps({"type": "ADDED", "object": ECHO}).encode(),
        b"x" * 70 + TOKEN.encode() * 3,  # where it would be cut in two
        json.dumps(added("10.0.0.2", name=TOKEN)).replace('"IPv4"', "7").encode(),
    ],
)
def test_an_event_that_sends_the_token_back(watch: Watch, line: bytes) -> None:
    watch.synced("10.0.0.1")
    for answer in watch.data(raw=line + b"\n"):
        assert "s3cr3t" not in shown(answer)
    assert len(watch.answers) == 2


def test_a_broken_response_that_sends_the_token_back(watch: Watch) -> None:
    watch.step()
    (answer,) = watch.failed(OSError(f"illegal header line: {bytearray(ECHO.encode())!r}"))
    assert "illegal header line" in str(answer.error)
    assert "s3cr3t" not in shown(answer)


def test_no_user_sees_the_token(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Error, its traceback, explain(), status and log, with a server that echoes each request's head."""
    authority = Authority(tmp_path, "ca")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.sign("api", "IP:127.0.0.1"))
    caplog.set_level(logging.INFO)
    token = "s3cr3t-5e7a"

    def echo(connection: socket.socket) -> bool:
        connection.sendall(whole("500 No", {"message": f"bad request headers: {fake.heads[-1]}"}))
        return True

    with Fake(echo, context=context) as fake:
        source = Kubernetes(fake.url.replace("http:", "https:"), authority.ca, token)
        web = Discovery("k8s:web.prod:http", source=source, policy=Policy(ready_timeout=1))
        with pytest.raises(ResolutionTimeoutError) as raised, web:
            pass
        assert "bad request headers" in str(raised.value)
        assert f"bearer {token}" in fake.heads[-1]
        trace = "".join(traceback.format_exception(raised.value))
        text = f"{trace} {web.explain()} {web.status!r} {caplog.text}"
    assert token not in text


def test_what_is_ours_is_found_however_it_is_written() -> None:
    redactor = Redactor()
    redactor.add(TOKEN)
    for spelled in (
        TOKEN,
        json.dumps(TOKEN),
        repr(TOKEN),
        "Bearer s3cr3t-5e7a.abc_def",
        "bearer%20s3cr3t-5e7a",
    ):
        assert "s3cr3t" not in redactor.text(f"before {spelled} after")
        assert b"s3cr3t" not in redactor.raw(f"before {spelled} after".encode())
    redactor.add("new-token")
    assert "s3cr3t" not in redactor.text(TOKEN), "an older token is still one"
    assert redactor.text("the bearer token expired; newer tokens") == "the bearer token expired; newer tokens"


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=4), st.text())
def test_a_token_is_never_left_in_a_text(token: str, text: str) -> None:
    redactor = Redactor()
    redactor.add(token)
    if token not in "<hidden>":
        assert token not in redactor.text(f"{text}\n{token}\n{text}").replace("<hidden>", "\n")


# Texts for people


EVIL = "z\x1b[31mEVIL\x1b]0;pwned\x07\n  web-9  6.6.6.6:80\u202e"


def is_printable(text: str) -> bool:
    return all(c.isprintable() for c in text)


def test_zones_nodes_and_names_are_made_printable(watch: Watch) -> None:
    one = item("10.0.0.1", name=EVIL)
    one["endpoints"][0] |= {"zone": EVIL, "nodeName": EVIL}
    one["endpoints"].append({"addresses": [EVIL]})
    one["ports"].append({"name": EVIL, "port": 81})
    watch.step()
    watch.head()
    watch.data({"type": "ADDED", "object": one})
    (answer,) = watch.data(END)
    (endpoint,) = answer.endpoints
    assert endpoint.zone is not None
    assert endpoint.zone.startswith(r"z\x1b[31mEVIL")
    assert is_printable(endpoint.zone)
    assert is_printable(str(endpoint.node))
    assert answer.dropped
    assert all(map(is_printable, answer.dropped))


def test_the_names_of_ports_are_made_printable() -> None:
    watch = Watch(service="web.prod:nowhere")
    one = item("10.0.0.1")
    one["ports"] = [{"name": EVIL, "port": 81}]
    watch.step()
    watch.head()
    (answer,) = watch.data({"type": "ADDED", "object": one}, END)
    assert "81" in answer.hint
    assert is_printable(answer.hint)


def test_messages_are_made_printable(watch: Watch) -> None:
    watch.step()
    (answer,) = watch.refuse(500, EVIL)
    assert "EVIL" in str(answer.error)
    assert is_printable(str(answer.error))
    watch.step()
    (answer,) = watch.refuse(403, f"User {json.dumps(EVIL)} cannot list")
    first, _, manifest = str(answer.error).partition("\n")
    assert "EVIL" in first
    assert is_printable(first)
    assert all(map(is_printable, manifest.splitlines()))
    watch.step()
    (answer,) = watch.failed(OSError(EVIL))
    assert is_printable(str(answer.error))


# Memory


def test_bounds_are_looked_at_before_json_is_read() -> None:
    watch = Watch(state=ServerState(no_watch_list=True))
    watch.step()
    watch.head()
    tiny = b'{"metadata":{"resourceVersion":"1"},"items":[' + b'{"a":[[[[]]]]},' * 300_000 + b"{}]}"
    watch.data(raw=tiny)
    (answer,) = watch.end()
    assert "a response of more than 1,000,000 values" in str(answer.error)
    watch = Watch()
    watch.synced("10.0.0.1")
    (answer,) = watch.data(raw=b'{"type":"ADDED","object":{"x":[' + b"[]," * 600_000 + b"[]]}}\n")
    assert "an event of more than 1,000,000 values" in str(answer.error)


@pytest.mark.parametrize("tiny", [b'{"a":1}', b"{}", b'{"a":{"b":{"c":1}}}', b'"ab"', b"[]", b"1.5"])
def test_a_page_of_tiny_values_takes_no_more_memory_than_a_large_one(tiny: bytes) -> None:
    """Whatever the values are: an object takes as much as several numbers."""
    head = b'{"metadata":{"resourceVersion":"1"},"items":[{"x":['
    most = b""
    for count in 70_000, 140_000, 190_000, 240_000, 480_000, 960_000:
        page = head + b",".join([tiny] * count) + b"]}]}"
        with suppress(TooLargeError):
            parse_page(page)
            most = page
    tracemalloc.start()
    try:
        page_read = parse_page(most)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert page_read.version == "1"
    assert peak < 80_000_000


def test_the_bytes_of_a_page_are_not_kept_beside_what_was_read_of_them() -> None:
    watch = Watch(state=ServerState(no_watch_list=True))
    watch.step()
    watch.head()
    watch.data(raw=json.dumps({"metadata": {"resourceVersion": "1"}, "items": [item("10.0.0.1")]}).encode())
    (answer,) = watch.end()
    assert answer.is_evidence
    assert watch.reflector._body.take() == b""


@pytest.mark.parametrize("how", ["pages", "time"])
def test_a_list_that_never_ends(how: str) -> None:
    watch = Watch(state=ServerState(no_watch_list=True))
    more = json.dumps({"metadata": {"resourceVersion": "1", "continue": "more"}, "items": []}).encode()
    for _ in range(MAX_PAGES):
        watch.step()
        watch.head()
        watch.data(raw=more)
        watch.now += 1.0 if how == "time" else 0.0
        if watch.end():
            break
    (answer,) = watch.answers
    assert "a list that does not end" in str(answer.error)
    pages = 30 if how == "time" else MAX_PAGES
    assert f"{pages} pages" in str(answer.error)
    assert "continue" not in watch.query(), "it begins anew"


def test_a_set_that_grows_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_endpointslices, "MAX_ENDPOINTS", 200)
    watch = Watch()
    watch.synced("10.0.0.1")
    for n in range(2, 101):  # each slice has an endpoint and a port
        watch.data(added(f"10.0.0.{n}"))
    assert all(answer.is_evidence for answer in watch.answers)
    *_, answer = watch.data(added("10.0.0.101"))
    assert "more than 200 endpoints and ports: no cluster holds so many" in str(answer.error)
    assert "resourceVersion" not in watch.query()
    monkeypatch.setattr(_endpointslices, "MAX_SLICES", 50)
    watch.head()
    empty = [{**added(f"10.0.1.{n}")} for n in range(51)]
    for event in empty:
        event["object"]["endpoints"] = []
    (answer,) = watch.data(*empty)
    assert "more than 50 EndpointSlices" in str(answer.error)


def test_the_set_may_change_for_ever_as_long_as_it_stays_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_endpointslices, "MAX_ENDPOINTS", 10)
    monkeypatch.setattr(_endpointslices, "MAX_SLICES", 10)
    watch = Watch()
    watch.synced()
    watch.step()
    watch.refuse(404)
    watch.step()
    watch.head()
    for n in range(1, 200):
        watch.data(added(f"10.0.0.{n}"), {"type": "DELETED", "object": item(f"10.0.0.{n - 1}")})
    assert all(answer.is_evidence for answer in watch.answers)


@pytest.mark.parametrize("what", ["ports", "uid"])
def test_one_slice_cannot_hold_more_than_a_set_may(what: str) -> None:
    """What is kept of an event of 8 MB, for each of 10,000 slices, has a bound, too."""
    event = added("10.0.0.1")
    if what == "uid":
        event["object"]["endpoints"][0]["targetRef"] = {"uid": "x" * 1_000_000}
    else:
        event["object"]["ports"] = [{"name": f"p{n}", "port": 80} for n in range(150_000)]
    watch = Watch()
    watch.synced("10.0.0.2")
    watch.data(event)
    slices = watch.reflector._set._slices
    assert slices is not None
    if what == "uid":
        assert all(len(uid) < 254 for one in slices._slices.values() for uid in one.pods)
        return
    event["object"]["metadata"]["name"] = "another"
    *_, answer = watch.data(event)
    assert "more than 200,000 endpoints and ports" in str(answer.error)


def test_malformed_ports_are_counted() -> None:
    watch = Watch()
    watch.step()
    watch.head()
    one = item("10.0.0.1")
    one["ports"] += [{"port": "x"}] * 1000
    (answer,) = watch.data({"type": "ADDED", "object": one}, END)
    assert len(answer.dropped) == 4
    assert "997 more ports are malformed" in answer.dropped[-1]


@pytest.mark.parametrize("address", ["240.0.0.1", "254.1.2.3"])
def test_pods_in_class_e_are_pods(address: str) -> None:
    """GKE gives pods such addresses."""
    watch = Watch()
    (answer,) = watch.synced(address)
    assert [endpoint.addresses for endpoint in answer.endpoints] == [(address,)]
    assert answer.dropped == ()
