"""Messages: what is written, what is read, and what is none of ours."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rrset
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peerdiscover.sources.dns._messages import MismatchedReply, RcodeError, read, write
from peerdiscover.sources.dns._types import Question, RecordType, Reply, ReplyStatus, Srv

from ._lookups import NAME

ASKED = Question(NAME, RecordType.A)
SERVICES = Question(NAME, RecordType.SRV)
SOA = "ns. admin. 1 2 3 4 7"


def answered(
    question: Question = ASKED,
    *records: str,
    additional: tuple[str, ...] = (),
    authority: tuple[str, ...] = (),
    code: str = "NOERROR",
    flags: dns.flags.Flag = dns.flags.QR | dns.flags.AA,
) -> bytes:
    """A server's reply: records as `owner ttl type data`."""
    message = dns.message.from_wire(write(question, 7))
    reply = dns.message.make_response(message)
    reply.flags |= flags
    reply.set_rcode(dns.rcode.from_text(code))
    for texts, section in (
        (records, reply.answer),
        (authority, reply.authority),
        (additional, reply.additional),
    ):
        for text in texts:
            owner, ttl, kind, data = text.split(" ", 3)
            section.append(dns.rrset.from_text(owner, int(ttl), "IN", kind, data))
    return reply.to_wire(max_size=65535)


def test_a_question_asks_for_recursion_and_announces_its_size() -> None:
    message = dns.message.from_wire(write(SERVICES, 4711))
    assert message.id == 4711
    assert message.flags == dns.flags.RD
    assert str(message.question[0]) == f"{NAME} IN SRV"
    assert (message.edns, message.payload) == (0, 1232)
    assert dns.message.from_wire(write(SERVICES, 1, edns=False)).edns == -1


def test_addresses_in_the_order_they_came() -> None:
    wire = answered(ASKED, f"{NAME} 5 A 10.0.0.2", f"{NAME} 4 A 10.0.0.1", f"{NAME} 5 A 10.0.0.2")
    reply = read(wire, ASKED, 7)
    assert reply == Reply(ASKED, ReplyStatus.ANSWER, ("10.0.0.2", "10.0.0.1"), canonical=NAME, ttl=4)


def test_services_and_the_addresses_that_come_along() -> None:
    wire = answered(
        SERVICES,
        f"{NAME} 30 SRV 0 50 8080 WEB-0.{NAME}",
        f"{NAME} 30 SRV 0 50 8080 web-1.{NAME}",
        additional=(
            f"web-0.{NAME} 20 A 10.0.0.1",
            f"web-0.{NAME} 30 AAAA fd00:0::1",
            "else.example. 1 A 10.9.9.9",
        ),
    )
    reply = read(wire, SERVICES, 7)
    assert reply.services == (Srv(0, 50, 8080, f"web-0.{NAME}"), Srv(0, 50, 8080, f"web-1.{NAME}"))
    assert reply.glue == {f"web-0.{NAME}": ("10.0.0.1", "fd00::1")}
    assert reply.ttl == 20


def test_records_of_another_class_are_none_of_ours() -> None:
    glue = answered(
        SERVICES, f"{NAME} 5 SRV 0 9 8080 web-0.{NAME}", additional=(f"web-0.{NAME} 5 A 10.0.0.1",)
    )
    a, other = struct.pack("!HHI", RecordType.A, 1, 5), struct.pack("!HHI", RecordType.A, 2, 5)
    assert glue.count(a) == 1
    reply = read(glue.replace(a, other), SERVICES, 7)
    assert [service.target for service in reply.services] == [f"web-0.{NAME}"]
    assert reply.glue == {}
    nothing = answered(ASKED, authority=(f"{NAME} 5 SOA {SOA}",))
    soa, other = struct.pack("!HHI", 6, 1, 5), struct.pack("!HHI", 6, 2, 5)
    assert nothing.count(soa) == 1
    assert (read(nothing, ASKED, 7).ttl, read(nothing.replace(soa, other), ASKED, 7).ttl) == (5, None)


def test_letters_of_either_case_are_the_same_name() -> None:
    asked = Question(NAME.upper(), RecordType.A)
    reply = read(answered(asked, f"{NAME.title()} 5 A 10.0.0.1"), ASKED, 7)
    assert reply.addresses == ("10.0.0.1",)


@pytest.mark.parametrize(
    ("code", "authority", "status", "ttl"),
    [
        ("NXDOMAIN", (f"prod.svc.cluster.local. 5 SOA {SOA}",), ReplyStatus.NXDOMAIN, 5),
        ("NXDOMAIN", (f"prod.svc.cluster.local. 30 SOA {SOA}",), ReplyStatus.NXDOMAIN, 7),
        ("NXDOMAIN", (), ReplyStatus.NXDOMAIN, None),
        ("NOERROR", (f"prod.svc.cluster.local. 0 SOA {SOA}",), ReplyStatus.NODATA, 0),
        ("NOERROR", (), ReplyStatus.NODATA, None),
    ],
)
def test_nothing_there(code: str, authority: tuple[str, ...], status: ReplyStatus, ttl: float | None) -> None:
    reply = read(answered(code=code, authority=authority), ASKED, 7)
    assert (reply.status, reply.ttl) == (status, ttl)


@pytest.mark.parametrize("code", ["SERVFAIL", "REFUSED", "FORMERR", "NOTIMP"])
def test_refusals(code: str) -> None:
    with pytest.raises(RcodeError, match=code):
        read(answered(code=code), ASKED, 7)
    bare = bytearray(answered(code=code)[:12])
    bare[4:12] = bytes(8)  # a server that cannot read the question does not repeat it
    with pytest.raises(RcodeError, match=code):
        read(bytes(bare), ASKED, 7)


def test_a_reply_that_refers_to_other_servers_is_no_answer() -> None:
    with pytest.raises(RcodeError, match="other servers"):
        read(answered(authority=("local. 5 NS ns.local.",), flags=dns.flags.QR), ASKED, 7)
    own = read(answered(authority=("local. 5 NS ns.local.",)), ASKED, 7)
    assert own.status is ReplyStatus.NODATA  # it answers for the zone itself


def test_aliases() -> None:
    wire = answered(
        ASKED, f"{NAME} 9 CNAME b.example.", "b.example. 4 CNAME c.example.", "c.example. 8 A 192.0.2.1"
    )
    reply = read(wire, ASKED, 7)
    assert (reply.addresses, reply.canonical, reply.ttl) == (("192.0.2.1",), "c.example.", 4)
    reply = read(answered(ASKED, f"{NAME} 9 CNAME b.example."), ASKED, 7)
    assert (reply.unfinished, reply.canonical, reply.ttl) == (True, "b.example.", 9)
    reply = read(answered(ASKED, f"{NAME} 9 CNAME b.example.", code="NXDOMAIN"), ASKED, 7)
    assert (reply.unfinished, reply.status) == (False, ReplyStatus.NXDOMAIN)
    with pytest.raises(RcodeError, match="CNAMEs"):
        read(answered(ASKED, f"{NAME} 9 CNAME b.example.", f"b.example. 9 CNAME {NAME}"), ASKED, 7)


def test_cut_short() -> None:
    flags = dns.flags.QR | dns.flags.TC
    reply = read(answered(ASKED, f"{NAME} 5 A 10.0.0.1", flags=flags), ASKED, 7)
    assert reply.truncated
    assert reply.addresses == ("10.0.0.1",)
    torn = answered(ASKED, f"{NAME} 5 A 10.0.0.1", f"{NAME} 5 A 10.0.0.2", flags=flags)[:-14]
    assert read(torn, ASKED, 7).addresses == ("10.0.0.1",), "what can be read of it counts"
    assert read(answered(flags=flags), ASKED, 7).status is ReplyStatus.ANSWER, (
        "nothing is proven about the name"
    )


def test_a_ttl_with_the_highest_bit_counts_as_zero() -> None:
    wire = bytearray(answered(ASKED, f"{NAME} 5 A 10.0.0.1"))
    at = bytes(wire).index(b"\x00\x00\x00\x05\x00\x04")
    wire[at : at + 4] = b"\xff\xff\xff\xff"
    assert read(bytes(wire), ASKED, 7).ttl == 0


@pytest.mark.parametrize(
    ("wire", "why"),
    [
        (b"", "too short"),
        (b"\x00\x07", "too short"),
        (write(ASKED, 7), "a question"),
        (b"\x00\x08" + answered()[2:], "wrong id"),
        (answered(Question("other.prod.svc.cluster.local.", RecordType.A)), "another question's name"),
        (answered(Question(NAME, RecordType.AAAA)), "another question's type"),
        (answered()[:2] + b"\xa8" + answered()[3:], "wrong opcode"),
        (answered(ASKED, f"{NAME} 5 A 10.0.0.1")[:-13], "malformed"),
        (answered()[:20], "malformed"),
        (struct.pack("!HHHHHH", 7, 0x8400, 0, 0, 0, 0), "another question's name"),
        (answered(ASKED, *(f"{NAME} 5 A 10.0.0.{i}" for i in range(101)))[:-1], "too long for a second look"),
    ],
)
def test_junk(wire: bytes, why: str) -> None:
    with pytest.raises(MismatchedReply, match=why):
        read(wire, ASKED, 7)


# Whatever comes, nothing but a reply, a refusal or junk comes out


def _read_anything(wire: bytes, question: Question, message_id: int) -> None:
    try:
        reply = read(wire, question, message_id)
    except (MismatchedReply, RcodeError):
        return
    assert isinstance(reply, Reply)


@given(st.binary(max_size=600))
def test_random_bytes(wire: bytes) -> None:
    _read_anything(wire, ASKED, int.from_bytes(wire[:2]))


@given(
    st.binary(max_size=300),
    st.sampled_from([0x8180, 0x8380, 0x8183, 0x8580]),
    st.lists(st.integers(0, 9), min_size=4, max_size=4),
)
def test_random_bytes_behind_a_good_header(body: bytes, flags: int, counts: list[int]) -> None:
    question = write(ASKED, 7, edns=False)[12:]
    head = b"\x00\x07" + flags.to_bytes(2) + b"".join(n.to_bytes(2) for n in (1, *counts[1:]))
    _read_anything(head + question + body, ASKED, 7)


def _captured() -> Iterator[tuple[Question, bytes]]:
    for path in sorted((Path(__file__).parents[2] / "tools" / "captures" / "answers").glob("*.json")):
        for entry in json.loads(path.read_text(encoding="utf-8"))["answers"]:
            asked = entry["question"]
            if (
                "raw" not in asked
                and asked["type"] in RecordType.__members__
                and len(entry.get("answer", "")) in range(24, 4000)
            ):
                yield (
                    Question(asked["name"].lower(), RecordType[asked["type"]]),
                    bytes.fromhex(entry["answer"]),
                )


CAPTURED = list(_captured())


def test_there_are_real_answers_to_try() -> None:
    assert len(CAPTURED) > 20
    for question, wire in CAPTURED:
        with suppress(RcodeError):
            read(wire, question, int.from_bytes(wire[:2]))


@settings(max_examples=400)
@given(st.sampled_from(CAPTURED), st.data())
def test_real_answers_with_some_bytes_changed(captured: tuple[Question, bytes], data: st.DataObject) -> None:
    question, wire = captured
    changed = bytearray(wire)
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(2, len(wire) - 1))] = data.draw(st.integers(0, 255))
    end = data.draw(st.one_of(st.just(len(wire)), st.integers(0, len(wire))))
    _read_anything(bytes(changed[:end]), question, int.from_bytes(wire[:2]))
