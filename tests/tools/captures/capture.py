"""Asks a real CoreDNS everything that `shapes` lists, and keeps the answers.

    python -m tests.tools.captures.capture --nameserver 10.96.0.10 --kubeconfig PATH --server "CoreDNS 1.15.0"
    python -m tests.tools.captures.capture --nameserver 10.96.0.10 --api https://10.96.0.1 --ca PATH …

It makes Services and EndpointSlices in a namespace of its own (`captures`, removed at the end), waits
until the nameserver knows them, asks each question and writes one JSON file a shape beside this one.
Answers above 4 KiB are kept as a digest. `--pod-names` asks instead what a server with
`endpoint_pod_names` is asked. `--only NAME` limits it to some shapes.

The server's TTL is taken from its SOA record. An answer whose TTL has begun to run out, in the server's
own cache, is asked for again.
"""

from __future__ import annotations

import argparse
import json
import socket
import ssl
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import httpx

from . import shapes
from .shapes import NAMESPACE, QuestionShape, ServiceShape, Shape, SliceShape

LARGEST_KEPT = 4096
_LAST = "zz-last"  # made last: when the server knows it, it knows all the others


def query_of(question: QuestionShape, ident: int) -> bytes:
    """The question as it goes out."""
    odd = question.get("raw", "")
    query = dns.message.make_query(
        question["name"], question["type"], "CH" if odd == "class CH" else "IN", id=ident
    )
    if "edns" in question:
        options: list[dns.edns.Option] = []
        if odd == "cookie and client subnet":
            options = [
                dns.edns.GenericOption(dns.edns.COOKIE, b"12345678"),
                dns.edns.ECSOption("192.0.2.0", 24),
            ]
        query.use_edns(
            1 if odd == "edns version 1" else 0,
            dns.flags.DO if odd == "dnssec ok" else 0,
            question["edns"],
            options=options,
        )
    if odd == "no recursion desired":
        query.flags &= ~dns.flags.RD
    elif odd == "checking disabled":
        query.flags |= dns.flags.CD
    elif odd == "authentic data":
        query.flags |= dns.flags.AD
    elif odd == "status":
        query.set_opcode(dns.opcode.STATUS)
    wire = query.to_wire()
    if odd == "two questions":
        wire = wire[:4] + struct.pack("!H", 2) + wire[6:] + wire[12:]
    elif odd == "no question":
        wire = wire[:4] + struct.pack("!H", 0) + wire[6:12]
    elif odd == "cut short":
        wire = wire[:-3]
    return wire


def exchange(server: tuple[str, int], query: bytes, transport: str) -> bytes | None:
    """The answer, or None where there is none within two seconds."""
    kind = socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM
    with socket.socket(socket.AF_INET6 if ":" in server[0] else socket.AF_INET, kind) as sock:
        sock.settimeout(2.0)
        sock.connect(server)
        try:
            if transport == "udp":
                sock.send(query)
                return sock.recv(65535)
            sock.sendall(struct.pack("!H", len(query)) + query)
            with sock.makefile("rb") as stream:
                return stream.read(struct.unpack("!H", stream.read(2))[0])
        except (TimeoutError, struct.error):
            return None


def digest(wire: bytes) -> dict[str, Any]:
    """What is compared of a large answer: code, flags, counts, size."""
    message = dns.message.from_wire(wire)
    return {
        "flags": struct.unpack_from("!H", wire, 2)[0],
        "counts": list(struct.unpack_from("!4H", wire, 4)),
        "size": len(wire),
        "edns": message.payload if message.edns >= 0 else None,
    }


def readable(wire: bytes) -> str:
    """One line for people."""
    _, flags, _, answers, authorities, extras = struct.unpack_from("!6H", wire)
    try:
        message = dns.message.from_wire(wire)
    except dns.exception.DNSException as error:
        return f"{flags:#06x}, {len(wire)} bytes, {error}"
    text = f"{dns.rcode.to_text(message.rcode())} {dns.flags.to_text(flags)}"
    first = message.answer[0].to_text().splitlines()[0] if message.answer else "–"
    return f"{text}; {answers}+{authorities}+{extras} records, {len(wire)} bytes; {first}"


class Api:
    """The little of the Kubernetes API that is needed."""

    def __init__(self, server: str, ca: str | None, token: str) -> None:
        verify = ssl.create_default_context(cafile=ca)
        self.http = httpx.Client(
            base_url=server,
            verify=verify,
            headers={"authorization": f"Bearer {token}"},
            timeout=30,
            trust_env=False,
        )

    def create(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        response = self.http.post(path, json=body)
        if response.is_error:
            raise SystemExit(
                f"{path} {body['metadata']['name']}: {response.status_code} {response.text[:300]}"
            )
        created: dict[str, Any] = response.json()
        return created

    def renew_namespace(self) -> None:
        path = f"/api/v1/namespaces/{NAMESPACE}"
        self.http.delete(path)
        for _ in range(600):
            if self.http.get(path).status_code == httpx.codes.NOT_FOUND:
                break
            time.sleep(0.1)
        self.create("/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})

    def create_service(self, service: ServiceShape) -> None:
        """Makes the Service and its slices; fills in the virtual address."""
        ports = service.get("ports") or _ports_of(service)
        spec: dict[str, Any] = {"ports": [_port_body(port) for port in ports]}
        if "external_name" in service:
            spec = {"type": "ExternalName", "externalName": service["external_name"]}
        elif "cluster_ips" not in service:
            spec["clusterIP"] = "None"
        created = self.create(
            f"/api/v1/namespaces/{NAMESPACE}/services", {"metadata": {"name": service["name"]}, "spec": spec}
        )
        if "cluster_ips" in service:
            service["cluster_ips"] = created["spec"]["clusterIPs"]
        for i, piece in enumerate(service.get("slices", [])):
            self.create(
                f"/apis/discovery.k8s.io/v1/namespaces/{NAMESPACE}/endpointslices",
                _slice_body(service["name"], i, piece),
            )


def _ports_of(service: ServiceShape) -> list[shapes.PortShape]:
    slices = service.get("slices")
    return slices[0]["ports"] if slices else shapes.HTTP


def _port_body(port: shapes.PortShape) -> dict[str, Any]:
    body: dict[str, Any] = {"port": port["port"], "protocol": port.get("protocol", "TCP")}
    return {**body, "name": port["name"]} if port["name"] else body


def _slice_body(service: str, i: int, piece: SliceShape) -> dict[str, Any]:
    endpoints = []
    family = "IPv4"
    for endpoint in shapes.endpoints_of(piece):
        body: dict[str, Any] = {"addresses": endpoint["addresses"]}
        if ":" in endpoint["addresses"][0]:
            family = "IPv6"
        if "hostname" in endpoint:
            body["hostname"] = endpoint["hostname"]
        if "ready" in endpoint:
            body["conditions"] = {"ready": endpoint["ready"]}
        if "pod" in endpoint:
            body["targetRef"] = {"kind": "Pod", "name": endpoint["pod"], "namespace": NAMESPACE}
        endpoints.append(body)
    return {
        "metadata": {"name": f"{service}-{i}", "labels": {"kubernetes.io/service-name": service}},
        "addressType": family,
        "ports": [_port_body(port) for port in piece["ports"]],
        "endpoints": endpoints,
    }


def settle(server: tuple[str, int]) -> int:
    """Waits until the server knows what was made last; returns its TTL."""
    query = dns.message.make_query(f"{_LAST}.{shapes.ZONE}", "A").to_wire()
    for _ in range(300):
        answer = exchange(server, query, "udp")
        if answer and dns.message.from_wire(answer).answer:
            break
        time.sleep(0.2)
    else:
        raise SystemExit("the nameserver does not know the new Services after a minute")
    answer = exchange(server, dns.message.make_query(shapes.DOMAIN, "A").to_wire(), "udp")
    assert answer
    ttl = dns.message.from_wire(answer).authority[0].ttl
    time.sleep(ttl + 1)  # what was asked before the Services were there runs out
    return ttl


def ask(server: tuple[str, int], question: QuestionShape, ident: int, ttl: int) -> dict[str, Any]:
    """One question and its answer, with nothing of its TTL gone."""
    transport = question.get("transport", "udp")
    query = query_of(question, ident)
    answer = exchange(server, query, transport)
    while answer is not None and any(left < ttl for left in _ttls(answer)):
        time.sleep(ttl + 1)
        answer = exchange(server, query, transport)
    entry: dict[str, Any] = {"question": question, "query": query.hex()}
    if answer is None:
        return {**entry, "answer": None, "readable": "silence"}
    entry["readable"] = readable(answer)
    if len(answer) > LARGEST_KEPT:
        return {**entry, "digest": digest(answer)}
    return {**entry, "answer": answer.hex()}


def _ttls(answer: bytes) -> Iterator[int]:
    try:
        message = dns.message.from_wire(answer)
    except dns.exception.DNSException:
        return
    for section in (message.answer, message.authority, message.additional):
        for rrset in section:
            yield rrset.ttl


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nameserver", required=True, help="ADDRESS or ADDRESS:PORT")
    parser.add_argument("--kubeconfig", type=Path, help="in JSON, with a token")
    parser.add_argument("--api", help="the API server's address, in place of a kubeconfig")
    parser.add_argument("--ca")
    parser.add_argument("--token", default="")
    parser.add_argument("--server", default="CoreDNS", help="what is asked, for the record")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "answers")
    parser.add_argument("--only", nargs="*", metavar="SHAPE")
    parser.add_argument("--pod-names", action="store_true")
    args = parser.parse_args()
    if args.kubeconfig:
        config = json.loads(args.kubeconfig.read_text())
        cluster = config["clusters"][0]["cluster"]
        args.api, args.ca = cluster["server"], cluster.get("certificate-authority")
        args.token = config["users"][0]["user"]["token"]
    host, _, port = args.nameserver.partition(":")
    server = (host, int(port or 53))
    wanted: dict[str, Shape] = shapes.POD_NAME_SHAPES if args.pod_names else shapes.SHAPES
    wanted = {name: shape for name, shape in wanted.items() if not args.only or name in args.only}

    api = Api(args.api, args.ca, args.token)
    api.renew_namespace()
    last: ServiceShape = {"name": _LAST, "slices": [{"ports": [], "first": "10.254.0.1", "count": 1}]}
    for service in [service for shape in wanted.values() for service in shape["services"]] + [last]:
        api.create_service(service)
    ttl = settle(server)
    args.out.mkdir(exist_ok=True)
    ident = 0
    for name, shape in wanted.items():
        answers = []
        for question in shape["questions"]:
            ident += 1
            answers.append(ask(server, question, ident, ttl))
        head = {"about": shape["about"], "server": args.server, "ttl": ttl, "domain": shapes.DOMAIN}
        head["pod_names"] = args.pod_names
        text = _dump({**head, "services": shape["services"], "answers": answers})
        (args.out / f"{name}.json").write_text(text)
        print(f"{name}: {len(answers)} answers")
    api.http.delete(f"/api/v1/namespaces/{NAMESPACE}")


def _dump(found: dict[str, Any]) -> str:
    """JSON with one line a service and a few an answer, so that a change can be read."""
    lines = [
        f"  {json.dumps(key)}: {json.dumps(found[key])}"
        for key in found
        if key not in ("services", "answers")
    ]
    for key in ("services", "answers"):
        items = ",\n".join("    " + json.dumps(item, ensure_ascii=False) for item in found[key])
        lines.append(f"  {json.dumps(key)}: [\n{items}\n  ]")
    return "{\n" + ",\n".join(lines) + "\n}\n"


if __name__ == "__main__":
    main()
