"""Rules that hold for the plan whatever servers say: replies made at random."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from peerdiscover.errors import Outcome
from peerdiscover.sources.dns._by_srv import MAX_OWN_NAMES
from peerdiscover.sources.dns._remembered import NameHistory
from peerdiscover.sources.dns._types import RecordType, Reply, ReplyStatus

from ._lookups import AAAA, NAME, NODATA, NXDOMAIN, SILENCE, SRV, A, Run, a, alias, full, srv

LABELS = ["web-0", "web-1", "web-2", "10-0-0-1", "fd00--1", NAME, "evil.example."]
V4 = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "0.0.0.0", "127.0.0.1"]
V6 = ["fd00::1", "fd00::2", "fe80::1"]
BAD = {"0.0.0.0", "127.0.0.1", "fe80::1"}

nothing = st.sampled_from([NXDOMAIN, NODATA, SILENCE])
cut = st.booleans()


def some(of: list[str], least: int = 1) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(of), min_size=least, unique=True)


def addresses(of: list[str], kind: RecordType) -> st.SearchStrategy[Reply]:
    whole = st.builds(lambda found, tc: a(*found, truncated=tc), some(of), cut)
    away = st.sampled_from([alias(NAME, kind), alias("other.prod.svc.cluster.local.", kind)])
    return st.one_of(whole, whole, nothing, away)


services = st.builds(
    lambda records, glue, tc: srv(*records, glue=glue, truncated=tc),
    st.lists(st.tuples(st.sampled_from(LABELS), st.sampled_from([0, 8080, 9090])), min_size=1),
    st.dictionaries(st.sampled_from(LABELS), some(V4 + V6)),
    cut,
)

tables = st.builds(
    lambda table, bare, named: {**table, (NAME, SRV): bare, (f"_http._tcp.{NAME}", SRV): named},
    st.fixed_dictionaries(
        {}
        | {
            (name, A): addresses(V4, A)
            for name in (NAME, *map(full, LABELS[:3]), "other.prod.svc.cluster.local.")
        }
        | {(name, AAAA): addresses(V6, AAAA) for name in (NAME, *map(full, LABELS[:3]))}
    ),
    st.one_of(services, nothing),
    st.one_of(services, nothing),
)

knowns = st.dictionaries(st.sampled_from(LABELS[:3]), some(V4[:3] + V6[:2]).map(tuple))


@settings(max_examples=500)
@given(
    st.sampled_from(["web.prod:8080", "web.prod:http", "web.prod", f"{NAME}:8080"]),
    tables,
    knowns,
    st.sampled_from(["any", "ipv4", "ipv6"]),
    st.booleans(),
    st.sampled_from([None, 4, 6]),
)
def test_whatever_servers_say(
    service: str,
    table: Mapping[tuple[str, RecordType], Reply],
    known: Mapping[str, tuple[str, ...]],
    family: str,
    second_opinion: bool,
    plain_family: int | None,
) -> None:
    run = Run(
        service,
        table,
        known=known,
        family=family,
        second_opinion=second_opinion,
        history=NameHistory(plain_family=plain_family),
    )
    answer = run.answer
    seen = [*answer.endpoints, *answer.unnamed]
    told = {address for endpoint in seen for address in endpoint.addresses}
    assert len(run.batches) <= 40
    assert all(len(batch.questions) <= 2 * MAX_OWN_NAMES for batch in run.batches)

    # Only what is evidence carries pods, and each outcome what its name says.
    assert (answer.outcome in (Outcome.RESOLVED, Outcome.PARTIAL)) == bool(seen)
    assert answer.error is not None or answer.outcome is not Outcome.FAILED
    assert answer.error is None or answer.outcome is Outcome.FAILED or answer.failed_families
    if answer.outcome is Outcome.NOT_FOUND:
        addressed = [table.get((NAME, kind), NXDOMAIN) for kind in (A, AAAA)]
        proof = any(r.status is ReplyStatus.NXDOMAIN or r.unfinished for r in addressed)
        assert proof or run.asked[0][0].startswith("SRV _http")

    # Nothing is believed that must not be, and nobody stands twice.
    assert not told & BAD
    assert len(seen) == len(set(seen))
    if family == "ipv4":
        assert not [address for address in told if ":" in address]
    if family == "ipv6":
        assert not [address for address in told if ":" not in address]
    pods = [e for e in seen if e.hostname is None and e.fqdn != NAME]
    plain = {":" in endpoint.addresses[0] for endpoint in pods}
    assert len(plain) <= 1, "pods without hostnames are of one family"
    assert not {e.hostname for e in answer.endpoints} & answer.gone
    assert {e.hostname for e in seen} <= {None, "web-0", "web-1", "web-2", "10-0-0-1", "fd00--1"}

    # What is proven gone was asked for by its own name, here or where a CNAME leads.
    asked = [question.split(" ")[1] for batch in run.asked for question in batch]
    assert all(any(name.startswith(label) for name in asked) for label in answer.gone)


@given(tables, st.sampled_from(["web.prod:8080", "web.prod:http", "web.prod"]))
def test_where_nobody_answers_nothing_is_proven(
    table: Mapping[tuple[str, RecordType], Reply], service: str
) -> None:
    silent = {question: replace(SILENCE) for question in table}
    assert Run(service, silent).answer.outcome is Outcome.FAILED
