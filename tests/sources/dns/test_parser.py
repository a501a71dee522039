"""The quick reader of plain messages reads what dnspython reads, and leaves to it what is not plain."""

from __future__ import annotations

import struct
from typing import NamedTuple
from unittest import mock

import dns.edns
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peerdiscover.sources.dns import _messages
from peerdiscover.sources.dns._messages import MismatchedReply, RcodeError, read, write
from peerdiscover.sources.dns._parser import IN, OPT, TYPES, parse_fast
from peerdiscover.sources.dns._types import Question, RecordType, Reply, Srv
from peerdiscover.sources.dns._wire_names import NameReader

from ._lookups import NAME
from .test_messages import ASKED, CAPTURED, SERVICES, SOA, answered

Outcome = tuple[Reply, list[tuple[str, tuple[str, ...]]]] | tuple[str, str]


def outcome(wire: bytes, question: Question, message_id: int) -> Outcome:
    """What comes of reading, in a form that can be compared, the order of glue included."""
    try:
        reply = read(wire, question, message_id)
    except (MismatchedReply, RcodeError) as error:
        return type(error).__name__, str(error)
    return reply, list(reply.glue.items())


def agree(wire: bytes, question: Question, message_id: int) -> Outcome:
    """What comes of reading, with and without the quick reader; dnspython has no bound here.

    dnspython also reads what is skipped, and may find that malformed: the one way in which they may differ.
    """
    with mock.patch.multiple(_messages, MAX_SLOW_SIZE=1 << 16, MAX_SLOW_RECORDS=1 << 18):
        ours = outcome(wire, question, message_id)
        with mock.patch.object(_messages, "parse_fast", return_value=None):
            theirs = outcome(wire, question, message_id)
    if theirs != ours:
        assert skips_something(wire)
        assert theirs[0] == "MismatchedReply"
        assert str(theirs[1]).startswith("malformed")
    return ours


def skips_something(wire: bytes) -> bool:
    """Whether a record, or an option of EDNS, is one that the quick reader does not look at."""
    names, (count, *counts) = NameReader(wire), struct.unpack_from("!HHHH", wire, 4)
    at = names.part(12).end + 4
    assert count == 1
    for _ in range(sum(counts)):
        kind, of_class, _, length = struct.unpack_from("!HHIH", wire, at := names.part(at).end)
        at += 10 + length
        if length if kind == OPT else of_class != IN or kind not in TYPES:
            return True
    return False


def test_real_answers() -> None:
    """Nearly all of what CoreDNS answers is plain."""
    read_quickly = 0
    for question, wire in CAPTURED:
        agree(wire, question, int.from_bytes(wire[:2]))
        read_quickly += parse_fast(wire) is not None
    assert read_quickly > 0.9 * len(CAPTURED)


# Messages that dnspython makes

labels = st.one_of(
    st.sampled_from([b"web-0", b"WEB-0", b"web-1", b"10-0-0-1", b"_http", b"a.b", b'"', b"$\\", b"\x00\xff"]),
    st.binary(min_size=1, max_size=63),
)
parents = st.sampled_from(
    [dns.name.root, *(dns.name.from_text(text) for text in (NAME, NAME.title(), "example.", "b.example."))]
)
names = st.one_of(
    parents,
    st.builds(lambda label, parent: dns.name.Name((label, *parent.labels)), labels, parents),
)
ttls = st.sampled_from([0, 1, 5, 30, 2**31 - 1])
v6 = st.one_of(
    st.binary(min_size=16, max_size=16),
    st.lists(st.sampled_from([b"\0\0", b"\0\1", b"\xff\xff"]), min_size=8, max_size=8).map(b"".join),
)


def _rdata(kind: str, name: dns.name.Name, number: int, address: bytes) -> bytes:
    target = name.to_wire() or b""
    return {
        "A": address[:4],
        "AAAA": address,
        "SRV": struct.pack("!HHH", number & 1, 50, number) + target,
        "CNAME": target,
        "NS": target,
        "SOA": target * 2 + struct.pack("!IIIII", 1, 2, 3, 4, number),
        "TXT": b"\x03abc",
        "MX": struct.pack("!H", number) + target,
        "TYPE65280": address,
    }[kind]


def _rrset(name: dns.name.Name, kind: str, of_class: str, ttl: int, data: list[bytes]) -> dns.rrset.RRset:
    rdclass, rdtype = dns.rdataclass.from_text(of_class), dns.rdatatype.from_text(kind)
    rdatas = [dns.rdata.from_wire(rdclass, rdtype, one, 0, len(one)) for one in data]
    return dns.rrset.from_rdata_list(name, ttl, rdatas)


@st.composite
def rrsets(draw: st.DrawFn) -> dns.rrset.RRset:
    plain_kinds = ["A", "A", "AAAA", "SRV", "SRV", "CNAME", "NS", "SOA"]
    kind = draw(st.sampled_from(plain_kinds * 3 + ["TXT", "MX", "TYPE65280"]))
    data = draw(
        st.lists(st.builds(_rdata, st.just(kind), names, st.integers(0, 65535), v6), min_size=1, max_size=4)
    )
    of_class = draw(st.sampled_from(["IN"] * 9 + ["CH"])) if kind != "A" else "IN"
    return _rrset(draw(names), kind, of_class, draw(ttls), data)


class Made(NamedTuple):
    """What goes into a message."""

    name: dns.name.Name
    kind: RecordType
    flags: dns.flags.Flag
    code: dns.rcode.Rcode
    edns: tuple[dns.edns.Option, ...] | None
    sections: list[list[dns.rrset.RRset]]
    own: dns.rrset.RRset | None

    @property
    def question(self) -> Question:
        return Question(self.name.to_text().lower(), self.kind)

    def wire(self) -> bytes:
        reply = dns.message.QueryMessage(id=7)
        reply.flags = dns.flags.QR | self.flags
        rdtype = dns.rdatatype.RdataType.make(int(self.kind))
        reply.question.append(dns.rrset.RRset(self.name, dns.rdataclass.IN, rdtype))
        if self.edns is not None:
            reply.use_edns(0, payload=1232, options=list(self.edns))
        reply.set_rcode(self.code)
        for section, rrsets in zip(reply.sections[1:], self.sections, strict=True):
            section.extend(rrsets)
        if self.own is not None:
            reply.answer.append(self.own)
        return reply.to_wire(max_size=65535)


OPTION = dns.edns.GenericOption(dns.edns.OptionType.EDE, b"\0\0")
CODES = [
    *[dns.rcode.NOERROR] * 6,
    dns.rcode.NXDOMAIN,
    dns.rcode.NXDOMAIN,
    dns.rcode.SERVFAIL,
    dns.rcode.BADVERS,
]


@st.composite
def messages(draw: st.DrawFn) -> Made:
    name, kind = draw(names), draw(st.sampled_from(RecordType))
    data = _rdata(kind.name, draw(names), draw(st.integers(0, 65535)), draw(v6))
    own = _rrset(name, kind.name, "IN", draw(ttls), [data])
    return Made(
        name,
        kind,
        draw(st.sampled_from([dns.flags.Flag(0), dns.flags.AA, dns.flags.TC])),
        draw(st.sampled_from(CODES)),
        draw(st.sampled_from([None, (), (), (), (OPTION,)])),
        draw(st.lists(st.lists(rrsets(), max_size=5), min_size=3, max_size=3)),
        draw(st.sampled_from([own, None])),  # an answer to the question itself, at least
    )


@settings(max_examples=250)
@given(messages())
def test_messages_that_dnspython_makes(message: Made) -> None:
    agree(message.wire(), message.question, 7)


@settings(max_examples=250)
@given(st.one_of(st.sampled_from(CAPTURED), messages()), st.data())
def test_messages_with_some_bytes_changed(
    message: tuple[Question, bytes] | Made, data: st.DataObject
) -> None:
    question, true = (message.question, message.wire()) if isinstance(message, Made) else message
    wire = bytearray(true)
    for _ in range(data.draw(st.integers(0, 4))):
        likely = st.sampled_from([0, 1, 4, 5, 12, 28, 33, 41, 63, 64, 192, 255])
        wire[data.draw(st.integers(2, len(wire) - 1))] = data.draw(st.one_of(likely, st.integers(0, 255)))
    end = data.draw(st.one_of(st.just(len(wire)), st.integers(0, len(wire))))
    agree(bytes(wire[:end]), question, int.from_bytes(true[:2]))


@settings(max_examples=300)
@given(st.binary(max_size=300), st.lists(st.integers(0, 9), min_size=3, max_size=3))
def test_random_bytes_behind_a_question(body: bytes, counts: list[int]) -> None:
    agree(_with(body, *counts), ASKED, 7)


# Cases


def _with(body: bytes, answers: int = 1, authorities: int = 0, additionals: int = 0) -> bytes:
    """A reply to `ASKED`; the name asked stands at 12."""
    head = struct.pack("!HHHHHH", 7, 0x8180, 1, answers, authorities, additionals)
    return head + write(ASKED, 7, edns=False)[12:] + body


def _record(name: bytes, data: bytes, kind: int = RecordType.A, ttl: int = 5, of_class: int = 1) -> bytes:
    return name + struct.pack("!HHIH", kind, of_class, ttl, len(data)) + data


OWN = b"\xc0\x0c"
HERE = len(_with(b""))
LONG = b"\x3e" + b"a" * 62 + b"".join(b"\x3f" + letter * 63 for letter in (b"b", b"c", b"d")) + b"\0"
SRV_HEAD = struct.pack("!HHH", 0, 50, 8080)


def test_rows_of_addresses_end_where_something_else_comes() -> None:
    rows = b"".join(_record(OWN, bytes((10, 0, 0, i))) for i in range(4))
    later = _record(OWN, b"\x0a\0\0\x09", ttl=3) + _record(OWN, b"\x0a\0\0\1")
    reply = read(_with(rows + later, 6), ASKED, 7)
    assert reply.addresses == ("10.0.0.0", "10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.9")
    assert reply.ttl == 3
    assert parse_fast(_with(rows + later, 3)) is not None
    cut = read(_with(rows + later, 3), ASKED, 7)
    assert cut.addresses == ("10.0.0.0", "10.0.0.1", "10.0.0.2"), "what follows the last record is no record"
    agree(_with(rows + later, 6), ASKED, 7)


def test_two_aliases_of_one_name() -> None:
    """There can be one: the last counts, with the lesser TTL (as dnspython has it)."""
    other = b"\5other" + OWN
    aliases = _record(OWN, b"\5wrong" + OWN, 5, ttl=2) + _record(OWN, other, 5, ttl=9)
    wire = _with(aliases + _record(other, b"\x0a\0\0\1", ttl=30), 3)
    assert parse_fast(wire) is not None
    reply = read(wire, ASKED, 7)
    assert (reply.addresses, reply.canonical, reply.ttl) == (("10.0.0.1",), f"other.{NAME}", 2)
    agree(wire, ASKED, 7)


def test_every_form_of_a_name() -> None:
    whole = b"\5WEB-1" + (dns.name.from_text(NAME).to_wire() or b"")
    at = HERE + len(_record(OWN, SRV_HEAD + b"\5web-0" + OWN, RecordType.SRV)) - 8
    forms = [b"\5web-0" + OWN, struct.pack("!H", 0xC000 | at), whole, b"\1*\1 \1." + OWN, b"\0"]
    body = b"".join(_record(OWN, SRV_HEAD + form, RecordType.SRV) for form in forms)
    wire = bytearray(_with(body, len(forms)))
    wire[HERE - 4 : HERE - 2] = RecordType.SRV.to_bytes(2)
    assert parse_fast(bytes(wire)) is not None
    reply = read(bytes(wire), SERVICES, 7)
    assert [service.target for service in reply.services] == [
        f"web-0.{NAME}",
        f"web-1.{NAME}",
        rf"*.\032.\..{NAME}",
        ".",
    ]
    assert reply.services[0] == Srv(0, 50, 8080, f"web-0.{NAME}")
    agree(bytes(wire), SERVICES, 7)


def _chain(length: int) -> bytes:
    """Records whose owners point to the owner before, so many times, down to the name asked."""
    body, at = b"", 12
    for _ in range(length):
        owner = struct.pack("!H", 0xC000 | at)
        at = HERE + len(body)
        body += _record(owner, b"\x0a\0\0\1")
    return _with(body, length)


@pytest.mark.parametrize(
    "wire",
    [
        pytest.param(_with(_record(struct.pack("!H", 0xC000 | HERE), b"\x0a\0\0\1")), id="points to itself"),
        pytest.param(
            _with(_record(struct.pack("!H", 0xC000 | HERE + 2), b"\x0a\0\0\1")), id="points forward"
        ),
        pytest.param(
            _with(_record(b"\1a" + struct.pack("!H", 0xC000 | HERE), b"\x0a\0\0\1")), id="goes round"
        ),
        pytest.param(_with(_record(b"\xc0\x02", b"\x0a\0\0\1")), id="points into the header"),
        pytest.param(_with(_record(b"\x40a\0", b"\x0a\0\0\1")), id="a label of no known kind"),
        pytest.param(
            _with(_record(b"\x3f" + b"a" * 63 + b"\0", b"\x0a\0\0\1")[:40]), id="a label past the end"
        ),
        pytest.param(_with(_record(LONG, b"\x0a\0\0\1")), id="a name of 256 bytes"),
        pytest.param(_with(_record(OWN, b"\x0a\0\0\1")[:-1]), id="an address past the end"),
        pytest.param(_with(_record(OWN, b"\x0a\0\0")), id="an address too short"),
        pytest.param(_with(_record(OWN, bytes(17), RecordType.AAAA)), id="an address too long"),
        pytest.param(
            _with(_record(OWN, SRV_HEAD + OWN + b"\0", RecordType.SRV)), id="something behind a target"
        ),
        pytest.param(_with(_record(OWN, SRV_HEAD[:4], RecordType.SRV)), id="a record cut short"),
        pytest.param(_with(_record(OWN, OWN * 2 + bytes(19), 6)), id="an SOA too short"),
        pytest.param(_with(_record(OWN, OWN * 2 + bytes(21), 6)), id="an SOA too long"),
        pytest.param(_with(_record(OWN, SRV_HEAD + LONG, RecordType.SRV)), id="a target of 256 bytes"),
        pytest.param(
            _with(_record(OWN, b"\x0a\0\0\2") + _record(struct.pack("!H", 0xC000 | HERE + 15), bytes(4)), 2),
            id="points to what runs into the name itself",
        ),
        pytest.param(_with(_record(OWN, b"\x0a\0\0\1"), 2), id="fewer records than said"),
        pytest.param(_with(_record(b"\0", b"", 41), 1), id="EDNS among the answers"),
        pytest.param(_with(_record(b"\0", b"", 41) * 2, 0, 0, 2), id="EDNS twice"),
        pytest.param(_with(_record(OWN, b"", 41), 0, 0, 1), id="EDNS of a name"),
        pytest.param(_with(b"", 0)[:4] + bytes(8), id="no question"),
    ],
)
def test_what_is_not_plain_is_left_to_dnspython(wire: bytes) -> None:
    assert parse_fast(wire) is None
    agree(wire, ASKED, 7)


@pytest.mark.parametrize(
    "wire",
    [
        pytest.param(_with(_record(OWN, b"\x0a\0\0\1", of_class=3)), id="of another class"),
        pytest.param(_with(_record(OWN, b"\3abc", 16)), id="of a type that does not matter"),
        pytest.param(_with(_record(b"\0", b"\0\x0f\0\2\0\3", 41), 0, 0, 1), id="an extended error"),
        pytest.param(_with(_record(b"\0", b"\0\x0a\0\x08abcdefgh", 41), 0, 0, 1), id="a cookie"),
        pytest.param(_with(_record(b"\0", b"", 41, ttl=1 << 24), 0, 0, 1), id="a code that goes on in EDNS"),
        pytest.param(
            _with(_record(OWN, bytes(10) + b"\xff\xff\x0a\0\0\1", RecordType.AAAA)), id="IPv4 in IPv6 clothes"
        ),
        pytest.param(_with(_record(OWN, bytes(12) + b"\x0a\0\0\1", RecordType.AAAA)), id="IPv4 in IPv6, too"),
        pytest.param(b"\0\7\x81\x82" + _with(b"", 0)[4:], id="SERVFAIL"),
    ],
)
def test_what_is_read_though_it_is_not_needed(wire: bytes) -> None:
    assert parse_fast(wire) is not None
    agree(wire, ASKED, 7)


def test_options_that_nobody_asked_for_cost_nothing() -> None:
    """A thousand addresses with a cookie took dnspython 58 ms."""
    rows = b"".join(_record(OWN, bytes((10, 0, *i.to_bytes(2)))) for i in range(1000))
    wire = _with(rows + _record(b"\0", b"\0\x0a\0\x08abcdefgh", 41), 1000, 0, 1)
    with mock.patch.object(_messages, "_by_dnspython") as slow:
        assert len(read(wire, ASKED, 7).addresses) == 1000
    assert not slow.called


def _slow_message() -> bytes:
    """65 kB, made for dnspython: 3,270 owners of 115 labels each, and a record of another class first."""
    record = struct.pack("!HHIH", 1, 1, 5, 4) + bytes((10, 0, 0, 1))
    body = bytearray(OWN + struct.pack("!HHIH", 16, 3, 5, 2) + b"\x01a")
    at, count = HERE + len(body), 2
    body += b"\x01a" * 90 + OWN + record
    while len(body) < 65000:
        label = f"{count:x}".encode()
        body += bytes((len(label),)) + label + struct.pack("!H", 0xC000 | at) + record
        count += 1
    return _with(bytes(body), count)


def test_work_has_a_bound() -> None:
    """What the quick reader declines, dnspython gets only if it is short: it took 1.7 s for this one."""
    wire = _slow_message()
    with mock.patch.object(_messages, "_by_dnspython") as slow:
        read(wire, ASKED, 7)
        with pytest.raises(MismatchedReply, match="too long for a second look"):
            read(wire[:-1], ASKED, 7)
        many = _with(_record(OWN, b"\x0a\0\0\1") * 200 + b"\xff", 201)
        with pytest.raises(MismatchedReply, match="too long for a second look"):
            read(many, ASKED, 7)
    assert not slow.called


@pytest.mark.parametrize("body", [b"", b"\xff" * 9])
def test_nothing_is_read_before_id_and_question_are_checked(body: bytes) -> None:
    with (
        mock.patch.object(_messages, "parse_fast") as quick,
        mock.patch.object(_messages, "_by_dnspython") as slow,
    ):
        for wire, why in (
            (_with(body), "another question's type"),
            (b"\0\x08" + _with(body)[2:], "wrong id"),
            (_with(body)[:4] + b"\0\2" + _with(body)[6:], "another question's name"),
        ):
            with pytest.raises(MismatchedReply, match=why):
                read(wire, SERVICES, 7)
        with pytest.raises(MismatchedReply, match="another question's name"):
            read(_with(body), Question("other.", RecordType.A), 7)
    assert not quick.called
    assert not slow.called


def test_long_chains_of_pointers() -> None:
    """As many as dnspython follows, and no deeper, however long the chain is."""
    for length in (2, 15, 16, 17, 18, 4000):
        agree(_chain(length), ASKED, 7)
    assert parse_fast(_chain(16)) is not None
    assert parse_fast(_chain(18)) is None


def test_a_chain_that_is_followed_from_its_far_end() -> None:
    """Pointers hidden in addresses: none of them is seen before the last one is followed."""
    body, at, records = b"", 12, 0
    while at < 0x3F00:
        records += 1
        place = HERE + len(body) + 12
        data = b""
        for turn in range(8):
            data += struct.pack("!H", 0xC000 | at)
            at = place + 2 * turn
        body += _record(OWN, data, RecordType.AAAA)
    wire = _with(body + _record(struct.pack("!H", 0xC000 | at), b"\x0a\0\0\1"), records + 1)
    assert parse_fast(wire) is None
    agree(wire, ASKED, 7)


def test_names_that_are_asked() -> None:
    for text in (NAME, "a.", "_http._tcp.web.", "x" * 63 + ".", ".".join(["y" * 62] * 4) + "."):
        name = dns.name.from_text(text).to_wire()
        assert write(Question(text, RecordType.A), 7, edns=False)[12:-4] == name
    assert write(Question(r"a\.b.\000\255.", RecordType.A), 7, edns=False)[12:-4] == b"\3a.b\2\0\xff\0"
    with pytest.raises(dns.name.LabelTooLong):
        write(Question("x" * 64 + ".", RecordType.A), 7)
    with pytest.raises(dns.name.NameTooLong):
        write(Question(".".join(["y" * 62] * 5) + ".", RecordType.A), 7)


def test_an_soa_at_the_end_of_nothing() -> None:
    wire = answered(ASKED, authority=(f"{NAME} 30 SOA {SOA}",), code="NXDOMAIN")
    assert parse_fast(wire) is not None
    agree(wire, ASKED, 7)
