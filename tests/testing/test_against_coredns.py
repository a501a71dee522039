"""The embedded nameserver against what a real CoreDNS answered, question by question.

The same bytes go in. Header, question, sizes and EDNS must be equal to the bit; the records of each
section must be the same, SRV in the same order where the Service has one slice (addresses are shuffled,
and CoreDNS takes several slices in any order). Of an answer that was cut, what is left of a shuffled set
is chance: there the numbers are equal, and each record is one of those that belong there.
Only the SOA's serial, a time, may differ.
"""

from __future__ import annotations

import json
import random
import struct
from collections import Counter
from pathlib import Path
from typing import Any

import dns.message
import dns.rdatatype
import pytest

from peerdiscover.testing import Nameserver, Service, ServiceEndpoint, ServicePort, Transport, Zone
from tests.tools.captures import shapes

ANSWERS = Path(__file__).parents[1] / "tools" / "captures" / "answers"
CAPTURES = sorted(path.stem for path in ANSWERS.glob("*.json"))

Section = list[str]


def zone_of(capture: dict[str, Any]) -> Zone:
    """The zone of the Services that the real server had."""
    zone = Zone(capture["domain"], capture["ttl"], pod_names=capture["pod_names"])
    for shape in capture["services"]:
        slices = [
            tuple(
                ServiceEndpoint(
                    address, _ports(piece["ports"]), endpoint.get("hostname"), endpoint.get("pod", "")
                )
                for endpoint in shapes.endpoints_of(piece)
                if endpoint.get("ready", True)
                for address in endpoint["addresses"]
            )
            for piece in shape.get("slices", [])
        ]
        zone = zone.with_service(
            Service(
                shape["name"],
                shapes.NAMESPACE,
                tuple(slices),
                tuple(shape.get("cluster_ips", [])),
                _ports(shape.get("ports", [])),
                shape.get("external_name"),
            )
        )
    return zone


def _ports(found: list[shapes.PortShape]) -> tuple[ServicePort, ...]:
    return tuple(ServicePort(port["port"], port["name"], port.get("protocol", "TCP")) for port in found)


def sections_of(wire: bytes) -> list[Section]:
    """The records as texts in the order they came, a list a section; the SOA without its serial."""
    message = dns.message.from_wire(wire, one_rr_per_rrset=True)
    found = []
    for section in (message.answer, message.authority, message.additional):
        lines = []
        for rrset in section:
            data = next(iter(rrset))
            if rrset.rdtype == dns.rdatatype.SOA:
                data = data.replace(serial=0)
            kind = dns.rdatatype.to_text(rrset.rdtype)
            lines.append(f"{rrset.name.to_text()} {rrset.ttl} {kind} {data.to_text()}")
        found.append(lines)
    return found


def of_type(kind: str, section: Section) -> Section:
    return [line for line in section if line.split()[2] == kind]


def _kinds(section: Section) -> list[str]:
    """The types in the order they stand, both kinds of addresses as one, since they are shuffled together."""
    return [line.split()[2].replace("AAAA", "A") for line in section]


def same(ours: bytes, theirs: bytes, everything: Counter[str], *, ordered: bool) -> None:
    """`ours` and `theirs` say the same; `everything` is what ours would say if nothing limited its size."""
    header, expected = struct.unpack_from("!6H", ours), struct.unpack_from("!6H", theirs)
    assert [f"{word:#06x}" for word in header] == [f"{word:#06x}" for word in expected]
    assert len(ours) == len(theirs)
    if len(theirs) == 12:
        return
    end = theirs.index(b"\0", 12) + 5
    assert ours[12:end] == theirs[12:end], "the question comes back with its own letters"
    mine, other = dns.message.from_wire(ours), dns.message.from_wire(theirs)
    for part in ("edns", "payload", "ednsflags", "options"):
        assert getattr(mine, part) == getattr(other, part), part
    assert mine.rcode() == other.rcode()
    cut = bool(header[1] & 0x0200)
    for section, other_section in zip(sections_of(ours), sections_of(theirs), strict=True):
        if not cut:
            assert Counter(section) == Counter(other_section)
        else:
            assert not Counter(section) - everything
            assert not Counter(other_section) - everything
        if ordered:
            assert of_type("SRV", section) == of_type("SRV", other_section)
        assert _kinds(section) == _kinds(other_section), "addresses stand behind everything else"


def same_digest(ours: bytes, theirs: dict[str, Any]) -> None:
    """The same of an answer of which the numbers alone were kept."""
    assert struct.unpack_from("!H", ours, 2)[0] == theirs["flags"]
    opt = ours[-11:]  # stands last, where there is one
    assert (int.from_bytes(opt[3:5]) if opt.startswith(b"\0\0\x29") else None) == theirs["edns"]
    *counts, extras = struct.unpack_from("!4H", ours, 4)
    *other_counts, other_extras = theirs["counts"]
    assert counts == other_counts
    if theirs["flags"] & 0x0200 and other_extras > 1:
        # The addresses behind SRV records are shuffled, too, and those of the first 16 KiB of targets
        # take less room than others (a pointer reaches no further): how many fit is chance.
        assert extras == pytest.approx(other_extras, rel=0.05)
        assert len(ours) == pytest.approx(theirs["size"], abs=50)
    else:
        assert extras == other_extras
        assert len(ours) == theirs["size"]


class Unlimited:
    """What a nameserver would say if nothing limited the size; each question is answered once."""

    def __init__(self, nameserver: Nameserver, monkeypatch: pytest.MonkeyPatch) -> None:
        self._nameserver = nameserver
        self._monkeypatch = monkeypatch
        self._known: dict[tuple[str, str], Counter[str]] = {}

    def __call__(self, question: shapes.QuestionShape, query: bytes) -> Counter[str]:
        key = (question["name"], question["type"])
        if key not in self._known:
            with self._monkeypatch.context() as patch:
                patch.setattr("peerdiscover.testing._messages._TCP_SIZE", 1 << 24)
                answer = self._nameserver.respond(query, transport="tcp")
            assert answer is not None
            self._known[key] = Counter(line for section in sections_of(answer) for line in section)
        return self._known[key]


@pytest.mark.parametrize("name", CAPTURES)
def test_answers_as_coredns_did(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    capture = json.loads((ANSWERS / f"{name}.json").read_text())
    nameserver = Nameserver(zone_of(capture), rng=random.Random(name))
    unlimited = Unlimited(nameserver, monkeypatch)
    ordered = all(len(shape.get("slices", [])) <= 1 for shape in capture["services"])
    differences = []
    for entry in capture["answers"]:
        transport: Transport = entry["question"].get("transport", "udp")
        query = bytes.fromhex(entry["query"])
        answer = nameserver.respond(query, transport=transport)
        try:
            if "digest" in entry:
                assert answer is not None
                same_digest(answer, entry["digest"])
            elif entry["answer"] is None:
                assert answer is None
            else:
                assert answer is not None
                cut = struct.unpack_from("!H", answer, 2)[0] & 0x0200
                everything = unlimited(entry["question"], query) if cut else Counter[str]()
                same(answer, bytes.fromhex(entry["answer"]), everything, ordered=ordered)
        except AssertionError as error:
            differences.append(f"{entry['question']}\n    captured: {entry['readable']}\n    {error}")
    assert not differences, "\n".join(differences)


def test_there_is_something_to_compare() -> None:
    wanted = {*shapes.SHAPES, *shapes.POD_NAME_SHAPES}
    assert set(CAPTURES) == wanted
    for name in CAPTURES:
        capture = json.loads((ANSWERS / f"{name}.json").read_text())
        shape = {**shapes.SHAPES, **shapes.POD_NAME_SHAPES}[name]
        assert [entry["question"] for entry in capture["answers"]] == shape["questions"]
