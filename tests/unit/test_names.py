"""Texts that are names and texts that are not; ordinals, dashed addresses, fixed lists."""

from __future__ import annotations

import copy
import pickle
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerdiscover import ConfigurationError, ServiceName
from peerdiscover._host_ports import StaticEntry, host_port, parse_host_port, parse_static
from peerdiscover._labels import dashed_address, ordinal_of
from peerdiscover._text import quoted

GOOD = [
    # text, service, namespace, domain, port, protocol
    ("web", "web", None, None, None, "tcp"),
    ("web:8080", "web", None, None, 8080, "tcp"),
    ("web:http", "web", None, None, "http", "tcp"),
    ("web-headless.prod:8080", "web-headless", "prod", None, 8080, "tcp"),
    ("web.prod.svc", "web", "prod", None, None, "tcp"),
    ("web.prod.svc:1", "web", "prod", None, 1, "tcp"),
    ("web.prod.svc.cluster.local:65535", "web", "prod", "cluster.local", 65535, "tcp"),
    ("web.prod.svc.k8s.example:http", "web", "prod", "k8s.example", "http", "tcp"),
    ("_http._tcp.web", "web", None, None, "http", "tcp"),
    ("_http._tcp.web.prod", "web", "prod", None, "http", "tcp"),
    (
        "_dns._udp.kube-dns.kube-system.svc.cluster.local",
        "kube-dns",
        "kube-system",
        "cluster.local",
        "dns",
        "udp",
    ),
    ("_m3ua._sctp.web.prod", "web", "prod", None, "m3ua", "sctp"),
    ("dns:web.prod:8080", "web", "prod", None, 8080, "tcp"),
    ("dns:web", "web", None, None, None, "tcp"),
    ("dns:8080", "dns", None, None, 8080, "tcp"),  # a Service called dns
    ("dns.kube-system:53", "dns", "kube-system", None, 53, "tcp"),
    ("WEB.Prod:HTTP", "web", "prod", None, "http", "tcp"),
    ("a1-b2.c3", "a1-b2", "c3", None, None, "tcp"),
    ("1.2:3", "1", "2", None, 3, "tcp"),
    ("x" * 63 + ".prod", "x" * 63, "prod", None, None, "tcp"),
    ("redis.example.com.:6379", "redis.example.com.", None, None, 6379, "tcp"),
    ("_mongodb._tcp.cluster0.example.net.", "cluster0.example.net.", None, None, "mongodb", "tcp"),
    ("under_score.example.:1", "under_score.example.", None, None, 1, "tcp"),
    ("localhost.", "localhost.", None, None, None, "tcp"),
]


@pytest.mark.parametrize(("text", "service", "namespace", "domain", "port", "protocol"), GOOD)
def test_good_texts(
    text: str,
    service: str,
    namespace: str | None,
    domain: str | None,
    port: int | str | None,
    protocol: str,
) -> None:
    name = ServiceName.parse(text)
    assert (name.service, name.namespace, name.domain) == (service, namespace, domain)
    assert (name.port, name.protocol, name.scheme) == (port, protocol, "dns")
    assert str(name) == text


@pytest.mark.parametrize(
    ("text", "port", "protocol", "service"),
    [
        ("_web._http.example.com.", "web", "http", "example.com."),
        ("_mongodb-replica-set._tcp.db.example.com.", "mongodb-replica-set", "tcp", "db.example.com."),
        ("_ldap._tcp.dc._msdcs.example.com.", "ldap", "tcp", "dc._msdcs.example.com."),
    ],
)
def test_outside_the_cluster_srv_labels_are_of_any_kind(
    text: str, port: str, protocol: str, service: str
) -> None:
    """RFC 2782 limits neither the length of a service's label nor the protocols; Kubernetes does."""
    name = ServiceName.parse(text)
    assert (name.port, name.protocol, name.service) == (port, protocol, service)
    assert ServiceName.parse(str(ServiceName(service, port=port, protocol=protocol))) == name
    with pytest.raises(ConfigurationError, match=r"ends in a dot|at most 15|not a DNS label"):
        ServiceName.parse(text.rstrip("."))


@pytest.mark.parametrize("text", ["_._tcp.example.com.", "_a-._tcp.example.com.", "_a._.example.com."])
def test_they_are_dns_labels_all_the_same(text: str) -> None:
    with pytest.raises(ConfigurationError):
        ServiceName.parse(text)


@pytest.mark.parametrize("scheme", ["k8s", "auto"])
def test_schemes(scheme: str) -> None:
    name = ServiceName.parse(f"{scheme}:web-headless.prod:http")
    assert (name.scheme, name.service, name.namespace, name.port) == (scheme, "web-headless", "prod", "http")
    assert str(name) == f"{scheme}:web-headless.prod:http"
    assert name.absolute() == "web-headless.prod.svc.cluster.local."
    assert ServiceName.parse(f"{scheme}:web").service == "web"
    assert ServiceName.parse(f"{scheme}:_http._tcp.web").port == "http"
    built = ServiceName("web", "prod", port=80, scheme=scheme)
    assert str(built) == f"{scheme}:web.prod:80"
    a_service_of_that_name = ServiceName.parse(f"{scheme}:8080")
    assert (a_service_of_that_name.scheme, a_service_of_that_name.service) == ("dns", scheme)


BAD = [
    # text, what the error shows of it
    ("", "''"),
    ("   ", "expected a service's name"),
    (" web", "no spaces"),
    ("web prod", "no spaces"),
    ("web\n", "no spaces"),
    ("web:", "a port is a number, or a name"),
    ("web:0", "at character 5 ('0'): a port number lies between 1 and 65535"),
    ("web:65536", "at character 5 ('65536')"),
    ("web:99999999999999999999", "a port number lies between"),
    ("web:-1", "at character 5 ('-1')"),
    ("web:http-", "('http-')"),
    ("web:-http", "('-http')"),
    ("web:ht--tp", "('ht--tp')"),
    ("web:a-name-of-sixteen", "at most 15"),
    ("web:٣", "a port is a number"),
    ("web..prod", "at character 4 ('..'): not a DNS label"),
    (".web", "not a DNS label"),
    ("-web.prod", "at character 1 ('-web')"),
    ("web-.prod", "('web-')"),
    ("web_1.prod", "('web_1')"),
    ("wéb.prod", "('wéb')"),
    ("web.prod.cluster.local", "at character 10 ('cluster'): after service and namespace comes svc"),
    ("web.prod.example.com:80", "a name outside the cluster ends in a dot (web.prod.example.com.:80)"),
    (
        "web-0.web.prod.svc.cluster.local:80",
        "a pod's name; its Service is web.prod.svc.cluster.local",
    ),
    ("k8s:web.example.com:http", "(web.example.com.:http)"),
    ("_http._tcp.web.example.com", "(_http._tcp.web.example.com.)"),
    ("x" * 64, "not a DNS label"),
    (".".join(["a" * 60, "b" * 60, "svc", "c" * 60, "d" * 60, "e" * 60]), "longer than the 253 characters"),
    ("a" * 60 + "." + ".".join(["b" * 60] * 4) + ".", "longer than the 253 characters"),
    ("bad label.example.", "no spaces"),
    ("-x.example.", "not a DNS label"),
    (".", "not a DNS label"),
    ("..", "not a DNS label"),
    ("_http.web", "at character 1 ('_http'): a named port is written _port._proto.service"),
    ("_http._tcp", "a named port is written"),
    ("_http._quic.web", "('_quic'): a protocol is one of _tcp, _udp, _sctp"),
    ("_80._tcp.web", "expected a port's name here; for a number write service:80"),
    ("_http._tcp.web:80", "the port is named twice"),
    ("_a_._tcp.web", "a port is a number, or a name"),
    ("10.0.0.1", "write static:10.0.0.1"),
    ("10.0.0.1:80", "an address, not a service's name; for a fixed list write static:10.0.0.1:80"),
    ("[fd00::1]:80", "write static:[fd00::1]:80"),
    ("fd00::1", "write static:fd00::1"),
    ("dns:10.0.0.1:80", "an address, not a service's name"),
    ("http:web:80", "('http:'): unknown scheme; known are"),
    ("http://web:80", "a URL, not a service's name; write web:80"),
    ("web:80:90", "unknown scheme"),
    ("k8s:db.example.com.:80", "at character 1 ('k8s:'): a name that ends in a dot is outside the cluster"),
    ("auto:db.example.com.", "only DNS knows it"),
    ("k8s:", "not a DNS label"),
]


@pytest.mark.parametrize(("text", "shown"), BAD, ids=[text[:30] for text, _ in BAD])
def test_bad_texts_are_shown_with_the_place(text: str, shown: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        ServiceName.parse(text)
    assert repr(text) in str(caught.value)
    assert shown in str(caught.value)
    assert isinstance(caught.value, ValueError)


URLS = [
    ("http://web-headless.prod:8080", "write web-headless.prod:8080"),
    (
        "https://web.prod:8080/path?q=1#x",
        "'https://web.prod:8080': a URL, not a service's name; write web.prod:8080",
    ),
    ("postgres://user:secret@db.prod:5432/x", "'postgres://…@db.prod:5432': a URL, not a service's name"),
    ("http://u:sec@ret@db.prod", "write db.prod"),
    ("http://", "write SERVICE.NAMESPACE:PORT"),
    ("k8s://web.prod:80", "write web.prod:80"),
]


@pytest.mark.parametrize(("text", "shown"), URLS)
def test_of_a_url_it_is_said_what_to_write_and_no_password_is_shown(text: str, shown: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        ServiceName.parse(text)
    assert shown in str(caught.value)
    assert "sec" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("web:" + "8" * 5000, "a port number lies between 1 and 65535"),
        ("w" * 1_000_000, "not a DNS label"),
        (("w" * 60 + ".") * 20_000, "longer than the 253 characters"),
        ("static:" + "1" * 1_000_000, "write ADDRESS:PORT"),
        ("_" + "p" * 1_000_000 + "._tcp.web", "a port is a number, or a name"),
        ("http://" + "w" * 1_000_000, "a URL"),
        ("web " * 250_000, "no spaces"),
    ],
    ids=["port", "label", "name", "static", "srv", "url", "spaces"],
)
def test_what_is_much_too_long_is_shown_short_and_on_one_line(text: str, why: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        ServiceName.parse(text)
    assert why in str(caught.value)
    assert len(str(caught.value)) < 1000
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("what", [None, 80, b"web", ["web"]])
def test_what_is_no_text_is_refused(what: object) -> None:
    with pytest.raises(ConfigurationError, match="a service's name is a string"):
        ServiceName.parse(what)  # type: ignore[arg-type]


@given(st.text(alphabet=string.printable + "é٣\u2028", max_size=40))
def test_any_text_is_a_name_or_refused(text: str) -> None:
    try:
        name = ServiceName.parse(text)
    except ConfigurationError as error:
        shown = "://" if "://" in text else repr(text)  # of a URL neither path nor password is repeated
        assert shown in str(error)  # noqa: PT017 - either outcome is right
    else:
        assert str(name) == text
        assert ServiceName.parse(str(name)) == name


LABELS = st.from_regex(r"\A[a-z0-9]([-a-z0-9]{0,8}[a-z0-9])?\Z").filter(lambda label: not label.isdigit())


@given(LABELS, st.none() | LABELS, st.none() | st.integers(1, 65535) | st.sampled_from(["http", "m-1"]))
def test_parts_make_the_text_that_gives_them_back(
    service: str, namespace: str | None, port: int | str | None
) -> None:
    name = ServiceName(service, namespace, port=port)
    assert ServiceName.parse(str(name)) == name


def test_parts_as_text() -> None:
    assert str(ServiceName("web", "prod", "cluster.local", "http")) == "web.prod.svc.cluster.local:http"
    assert str(ServiceName("dns", "kube", port="dns", protocol="udp")) == "_dns._udp.dns.kube"
    assert str(ServiceName("10.0.0.1:80", scheme="static")) == "static:10.0.0.1:80"


def test_equality_is_that_of_the_parts() -> None:
    assert ServiceName.parse("_http._tcp.web.prod") == ServiceName.parse("dns:web.prod:http")
    assert hash(ServiceName.parse("WEB.prod")) == hash(ServiceName.parse("web.prod"))
    assert ServiceName.parse("web.prod") != ServiceName.parse("web.prod:80")


def test_names_are_immutable_and_cross_processes() -> None:
    name = ServiceName.parse("web.prod:80")
    with pytest.raises(AttributeError):
        name.port = 81  # type: ignore[misc]
    assert copy.copy(name) == copy.deepcopy(name) == pickle.loads(pickle.dumps(name)) == name
    assert str(pickle.loads(pickle.dumps(name))) == "web.prod:80"


@pytest.mark.parametrize(
    ("text", "namespace", "domain", "absolute"),
    [
        ("web", "prod", None, "web.prod.svc.cluster.local."),
        ("web:80", "prod", "k8s.test", "web.prod.svc.k8s.test."),
        ("web:80", "prod", "k8s.test.", "web.prod.svc.k8s.test."),
        ("web.stage", "prod", None, "web.stage.svc.cluster.local."),
        ("web.stage.svc.own.domain:http", "prod", "k8s.test", "web.stage.svc.own.domain."),
        ("_http._tcp.web", "prod", None, "web.prod.svc.cluster.local."),
        ("redis.example.com.:6379", "prod", "k8s.test", "redis.example.com."),
        ("redis.example.com.", None, None, "redis.example.com."),
    ],
)
def test_absolute(text: str, namespace: str | None, domain: str | None, absolute: str) -> None:
    assert ServiceName.parse(text).absolute(namespace, domain) == absolute


def test_absolute_without_a_namespace_says_what_to_do() -> None:
    with pytest.raises(ConfigurationError, match=r"write web.NAMESPACE or set PEERDISCOVER_NAMESPACE"):
        ServiceName.parse("web:80").absolute()


def test_absolute_of_a_static_list() -> None:
    with pytest.raises(ConfigurationError, match="a static list has no DNS name"):
        ServiceName.parse("static:10.0.0.1:80").absolute("prod")


def test_absolute_that_is_too_long() -> None:
    with pytest.raises(ConfigurationError, match="longer than the 253"):
        ServiceName.parse("a" * 63).absolute("b" * 63, ".".join(["c" * 63] * 2))


# fixed lists


def test_a_static_list() -> None:
    name = ServiceName.parse("static:10.0.0.1:8080,[fd00::1]:8080,db-0=10.0.0.2:8080,db-1=[FD00::0:2]:1")
    assert name.scheme == "static"
    assert (name.port, name.namespace, name.domain) == (None, None, None)
    assert parse_static(name.service) == (
        StaticEntry("10.0.0.1", 8080),
        StaticEntry("fd00::1", 8080),
        StaticEntry("10.0.0.2", 8080, "db-0"),
        StaticEntry("fd00::2", 1, "db-1"),
    )


@pytest.mark.parametrize(
    ("entries", "shown"),
    [
        ("", "the list is empty"),
        ("10.0.0.1", "('10.0.0.1'): write ADDRESS:PORT"),
        ("10.0.0.1:", "a port number lies between"),
        ("10.0.0.1:0", "a port number lies between"),
        ("10.0.0.1:65536", "a port number lies between"),
        ("10.0.0.1:http", "a port number lies between"),
        ("10.0.0.1:80,", "write ADDRESS:PORT"),
        (",10.0.0.1:80", "write ADDRESS:PORT"),
        ("10.0.0.1:80,10.0.0.300:80", "('10.0.0.300:80'): '10.0.0.300' is no IP address"),
        ("localhost:80", "'localhost' is no IP address; write 127.0.0.1"),
        ("10.0.0.1:" + "9" * 5000, "a port number lies between"),
        ("db.prod:80", "'db.prod' is no IP address; write its address instead"),
        ("fd00::1:80", "an IPv6 address in brackets"),
        ("[fd00::1:80", "an IPv6 address in brackets"),
        ("[]:80", "is no IP address"),
        ("[fe80::1%eth0]:80", "bound to one machine's interface"),
        ("=10.0.0.1:80", "not a hostname"),
        ("db_0=10.0.0.1:80", "('db_0'): not a hostname"),
        ("db.0=10.0.0.1:80", "not a hostname"),
        ("a=b=10.0.0.1:80", "('a=b'): not a hostname"),
        ("10.0.0.01:80", "is no IP address"),
    ],
)
def test_bad_static_lists_show_the_entry(entries: str, shown: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        ServiceName.parse("static:" + entries)
    assert quoted("static:" + entries, 400) in str(caught.value)
    assert shown in str(caught.value)


def test_host_ports() -> None:
    assert parse_host_port("10.0.0.1:80") == StaticEntry("10.0.0.1", 80)
    assert host_port("10.0.0.1", 80) == "10.0.0.1:80"
    assert host_port("fd00::1", 80) == "[fd00::1]:80"


@given(st.ip_addresses(), st.integers(1, 65535))
def test_host_port_round_trip(address: object, port: int) -> None:
    entry = parse_host_port(host_port(str(address), port))
    assert (entry.address, entry.port) == (str(address), port)


# labels


@pytest.mark.parametrize(
    ("hostname", "ordinal"),
    [
        ("web-0", 0),
        ("web-123", 123),
        ("web-10", 10),
        ("foo-0-bar-1", 1),
        ("my-app-0", 0),
        ("web-1234567", 1234567),
        ("web-00", 0),
        ("web", None),
        ("web0", None),
        ("web-", None),
        ("web-a", None),
        ("web-1a", None),
        ("web-1-a", None),
        ("0", None),
        ("app-7d4b9c6f5-x2v4q", None),  # a Deployment's
        ("app-7d4b9c6f5-24567", None),  # … whose five random characters are all digits
        ("app-99999", None),
        ("app-24560", 24560),  # 0, 1 and 3 are not in that alphabet
        ("app-2456", 2456),
        ("web-1234567890", None),  # more than any StatefulSet counts
        ("web-٣", None),
        (None, None),
    ],
)
def test_ordinals(hostname: str | None, ordinal: int | None) -> None:
    assert ordinal_of(hostname) == ordinal


@pytest.mark.parametrize(
    ("label", "address"),
    [
        ("10-244-0-7", "10.244.0.7"),
        ("255-255-255-255", "255.255.255.255"),
        ("fd00--1", "fd00::1"),
        ("2001-db8-0-0-0-0-0-1", "2001:db8::1"),
        ("fd00--0", "fd00::"),  # CoreDNS puts a 0 behind a trailing hyphen
        ("--1", "::1"),
        ("web-0", None),
        ("10-244-0", None),
        ("10-244-0-256", None),
        ("10-244-0-7-8", None),
        ("web", None),
        ("1", None),
        ("", None),
    ],
)
def test_dashed_addresses(label: str, address: str | None) -> None:
    assert dashed_address(label) == address
