"""Bootstrap settings: golden values by hand, and all characters through each program's own parser."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerdiscover import ConfigurationError, Peer, PeerSet
from peerdiscover.brokers import (
    HostPort,
    amqp_urls,
    hosts,
    kafka,
    kraft_voters,
    mongodb,
    postgres,
    rabbitmq_nodes,
)
from peerdiscover.testing import HeadlessService

PARENT = "kafka-headless.default.svc.cluster.local"
KAFKA = hosts("kafka-headless.default:9092", name="kafka", replicas=3)
SIX = (HostPort("2001:db8::7", 5432), HostPort("2001:db8::8", 5432))
RESERVED = "p@ss/w:rd ?#[]%&=;,é+'\"\\"
# A secret is any text that a program can be given: no NUL, no lone surrogate.
SECRETS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)


def peers(*names: str) -> PeerSet:
    return PeerSet(
        "kafka-headless.default:9092",
        [
            Peer(name, f"10.0.0.{i}", 9092, hostname=name, fqdn=f"{name}.{PARENT}.")
            for i, name in enumerate(names)
        ],
    )


# Names


def test_the_pods_of_a_statefulset_by_name() -> None:
    found = hosts("kafka-headless.default:9092", name="kafka", replicas=3)
    assert found == (
        (f"kafka-0.{PARENT}", 9092),
        (f"kafka-1.{PARENT}", 9092),
        (f"kafka-2.{PARENT}", 9092),
    )
    assert [host.ordinal for host in KAFKA] == [0, 1, 2]
    assert str(KAFKA[1]) == f"kafka-1.{PARENT}:9092"


def test_ordinals_need_not_begin_at_0_and_domains_differ() -> None:
    found = hosts("db:5432", name="db", replicas=2, start=5, namespace="shop", cluster_domain="corp.example")
    assert found == (("db-5.db.shop.svc.corp.example", 5432), ("db-6.db.shop.svc.corp.example", 5432))


@pytest.mark.parametrize("scheme", ["dns:", "k8s:", "auto:"])
def test_the_scheme_does_not_matter(scheme: str) -> None:
    assert hosts(f"{scheme}kafka-headless.default:9092", name="kafka", replicas=3) == KAFKA


def test_a_fixed_list_stands_as_it_is() -> None:
    found = hosts("static:127.0.0.1:9092,[::1]:9093", name="kafka", replicas=3)
    assert found == (("127.0.0.1", 9092), ("::1", 9093))
    assert [str(host) for host in found] == ["127.0.0.1:9092", "[::1]:9093"]


def test_a_set_gives_names_and_addresses_only_for_peers_without_one() -> None:
    unnamed = PeerSet("web:80", [Peer("10.0.0.1:80", "10.0.0.1", 80), Peer("[fd00::1]:80", "fd00::1", 80)])
    assert hosts(peers("kafka-0", "kafka-1", "kafka-2")) == KAFKA
    assert set(hosts(unnamed)) == {("10.0.0.1", 80), ("fd00::1", 80)}


def test_a_set_stands_wherever_hosts_do() -> None:
    everyone = peers("kafka-0", "kafka-1", "kafka-2")
    functions: list[Callable[[Any], object]] = [
        kafka,
        kraft_voters,
        rabbitmq_nodes,
        lambda given: amqp_urls(given, user="u", password="p"),
        lambda given: postgres(given, dbname="d"),
        lambda given: mongodb(given, replica_set="rs0"),
    ]
    for function in functions:
        assert function(everyone) == function(KAFKA)


# Golden values


def test_kafka() -> None:
    assert kafka(KAFKA) == [f"kafka-{i}.{PARENT}:9092" for i in range(3)]
    assert kafka(SIX) == ["[2001:db8::7]:5432", "[2001:db8::8]:5432"]


def test_kraft_voters() -> None:
    assert kraft_voters(KAFKA[:2]) == f"0@kafka-0.{PARENT}:9092,1@kafka-1.{PARENT}:9092"
    assert kraft_voters(KAFKA[1:], offset=100) == f"101@kafka-1.{PARENT}:9092,102@kafka-2.{PARENT}:9092"


def test_rabbitmq_nodes() -> None:
    assert rabbitmq_nodes(KAFKA[:1]) == (f"rabbit@kafka-0.{PARENT}",)
    assert rabbitmq_nodes([HostPort("10.0.0.1", 5672)], name="bunny") == ("bunny@10.0.0.1",)


def test_amqp_urls() -> None:
    assert amqp_urls([HostPort("mq-0.mq", 5672)], user="guest", password="guest") == [
        "amqp://guest:guest@mq-0.mq:5672/%2F"
    ]
    assert amqp_urls([HostPort("fd00::1", 5671)], user="a", password="b", vhost="v", tls=True) == [
        "amqps://a:b@[fd00::1]:5671/v"
    ]


def test_postgres() -> None:
    two = (HostPort("pg-0.pg", 5432), HostPort("pg-1.pg", 5433))
    assert postgres(two, dbname="app") == (
        "postgresql://pg-0.pg:5432,pg-1.pg:5433/app?target_session_attrs=read-write"
    )
    assert postgres(two, dbname="app", user="me", password="x", sqlalchemy=True, connect_timeout=3) == (
        "postgresql://me:x@/app?host=pg-0.pg:5432&host=pg-1.pg:5433&target_session_attrs=read-write"
        "&connect_timeout=3"
    )


def test_mongodb() -> None:
    two = (HostPort("m-0.m", 27017), HostPort("m-1.m", 27017))
    assert mongodb(two, replica_set="rs0", user="me", password="x", database="d", tls=False) == (
        "mongodb://me:x@m-0.m:27017,m-1.m:27017/d?replicaSet=rs0&tls=false"
    )
    assert mongodb(two, replica_set="rs0") == "mongodb://m-0.m:27017,m-1.m:27017/?replicaSet=rs0"


# Through the programs' own parsers


@given(SECRETS, SECRETS, SECRETS)
def test_pika_reads_what_was_written(user: str, password: str, vhost: str) -> None:
    pika = import_module("pika")
    for url in amqp_urls(KAFKA, user=user, password=password, vhost=vhost):
        read = pika.URLParameters(url)
        assert (read.credentials.username, read.credentials.password) == (user, password)
        assert read.virtual_host == vhost


def test_pika_reads_the_default_virtual_host() -> None:
    pika = import_module("pika")
    (url,) = amqp_urls(KAFKA[:1], user="a", password="b")
    assert pika.URLParameters(url).virtual_host == "/"
    assert pika.URLParameters(url.replace("%2F", "/")).virtual_host == "", "the trap: an empty one"


@given(SECRETS, SECRETS, SECRETS)
def test_kombu_reads_what_was_written_from_a_joined_list(user: str, password: str, vhost: str) -> None:
    kombu = import_module("kombu")
    urls = amqp_urls(KAFKA, user=user, password=password, vhost=vhost)
    read = kombu.Connection(";".join(urls))
    assert read.alt == urls
    assert (read.userid, read.password) == (user, password)
    assert read.virtual_host == vhost


@given(SECRETS, SECRETS, SECRETS)
def test_yarl_which_aio_pika_reads_with(user: str, password: str, vhost: str) -> None:
    yarl = import_module("yarl")
    (url,) = amqp_urls(KAFKA[:1], user=user, password=password, vhost=vhost)
    read = yarl.URL(url)
    assert (read.user, read.password, read.path) == (user, password, f"/{vhost}")


@given(SECRETS, SECRETS, SECRETS)
def test_libpq_reads_what_was_written(user: str, password: str, dbname: str) -> None:
    conninfo = import_module("psycopg.conninfo")
    read = conninfo.conninfo_to_dict(postgres(KAFKA, dbname=dbname, user=user, password=password))
    assert (read["user"], read["password"], read["dbname"]) == (user, password, dbname)
    assert read["host"].split(",") == [host.host for host in KAFKA]
    assert read["port"] == "9092,9092,9092"
    assert read["target_session_attrs"] == "read-write"


def test_libpq_reads_ipv6() -> None:
    conninfo = import_module("psycopg.conninfo")
    read = conninfo.conninfo_to_dict(postgres(SIX, dbname="d"))
    assert (read["host"], read["port"]) == ("2001:db8::7,2001:db8::8", "5432,5432")


@given(SECRETS, SECRETS, SECRETS)
def test_asyncpg_reads_what_was_written(user: str, password: str, dbname: str) -> None:
    utils = import_module("asyncpg.connect_utils")
    names = (
        "host port user password passfile database ssl service servicefile "
        "direct_tls server_settings target_session_attrs krbsrvname gsslib"
    )
    nothing = dict.fromkeys(names.split())
    for given_hosts in (KAFKA, SIX):
        dsn = postgres(given_hosts, dbname=dbname, user=user, password=password)
        addresses, read = utils._parse_connect_dsn_and_args(dsn=dsn, **nothing)
        assert addresses == [tuple(host) for host in given_hosts]
        assert (read.user, read.password, read.database) == (user, password, dbname)


@given(SECRETS, SECRETS, SECRETS)
def test_sqlalchemy_reads_what_was_written(user: str, password: str, dbname: str) -> None:
    sqlalchemy = import_module("sqlalchemy")
    url = postgres(KAFKA, dbname=dbname, user=user, password=password, sqlalchemy=True)
    read = sqlalchemy.make_url(url)
    assert (read.username, read.password, read.database) == (user, password, dbname)
    assert read.query["host"] == tuple(map(str, KAFKA))


def test_sqlalchemy_refuses_several_hosts_before_the_path() -> None:
    """Why there is a form of its own: if this changes, `sqlalchemy=True` can go."""
    sqlalchemy = import_module("sqlalchemy")
    with pytest.raises(ValueError):
        sqlalchemy.make_url(postgres(KAFKA, dbname="d"))


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
def test_sqlalchemys_drivers_get_every_host_with_its_port(driver: str) -> None:
    sqlalchemy = import_module("sqlalchemy")
    import_module(driver)
    url = sqlalchemy.make_url(postgres(KAFKA, dbname="d", sqlalchemy=True)).set(
        drivername=f"postgresql+{driver}"
    )
    _, options = url.get_dialect()().create_connect_args(url)
    ours: Sequence[str] = [host.host for host in KAFKA]
    assert options["host"] in (",".join(ours), ours)
    assert options["port"] in ("9092,9092,9092", [9092] * 3)


def test_asyncpg_takes_uris_only() -> None:
    """Why `postgres` writes a URI and no keywords, which libpq takes, too."""
    asyncpg = import_module("asyncpg")
    with pytest.raises(asyncpg.exceptions.ClientConfigurationError, match="invalid DSN"):
        asyncio.run(asyncpg.connect("host=127.0.0.1 port=1 dbname=d"))


@given(SECRETS, SECRETS, st.text("abcXYZ09é-_", min_size=1, max_size=30))
def test_pymongo_reads_what_was_written(user: str, password: str, database: str) -> None:
    uri_parser = import_module("pymongo.uri_parser")
    for given_hosts in (KAFKA, SIX):
        uri = mongodb(given_hosts, replica_set="rs0", user=user, password=password, database=database)
        read = uri_parser.parse_uri(uri)
        assert read["nodelist"] == [tuple(host) for host in given_hosts]
        assert (read["username"], read["password"], read["database"]) == (user, password, database)
        assert read["options"]["replicaSet"] == "rs0"


@pytest.mark.parametrize("module", ["aiokafka.conn", "kafka.cluster"])
@pytest.mark.parametrize("given_hosts", [KAFKA, SIX], ids=["names", "IPv6"])
@pytest.mark.filterwarnings("ignore:(read|open)_text is deprecated")  # kafka-python reads its own files by it
def test_kafkas_clients_take_the_list(module: str, given_hosts: Sequence[HostPort]) -> None:
    found = import_module(module).collect_hosts(kafka(given_hosts))
    assert {(host, port) for host, port, _ in found} == set(given_hosts)


def test_amqp_clients_read_ipv6() -> None:
    (url,) = amqp_urls(SIX[:1], user="u", password="p")
    pika, kombu, yarl = map(import_module, ("pika", "kombu", "yarl"))
    read = pika.URLParameters(url), kombu.Connection(url).info(), yarl.URL(url)
    assert (read[0].host, read[0].port) == SIX[0]
    assert (read[1]["hostname"], read[1]["port"]) == SIX[0]
    assert (read[2].host, read[2].port) == SIX[0]


def test_mongodb_srv_needs_a_port_of_that_name_and_no_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Why `mongodb` writes a seed list: `mongodb+srv` asks for `_mongodb._tcp`, and turns TLS on."""
    uri_parser, resolver = import_module("pymongo.uri_parser"), import_module("dns.resolver")
    uri = f"mongodb+srv://{PARENT}/?replicaSet=rs0"
    for port, found in (("mongodb", {(f"db-{i}.{PARENT}", 27017) for i in range(3)}), ("db", None)):
        with HeadlessService("kafka-headless.default", name="db", replicas=3, ports={port: 27017}) as svc:
            host, _, number = svc.nameserver.rpartition(":")
            asked = resolver.Resolver(configure=False)
            asked.nameservers, asked.port = [host], int(number)
            monkeypatch.setattr(resolver, "default_resolver", asked)
            if found is None:
                with pytest.raises(
                    import_module("pymongo.errors").ConfigurationError, match=r"_mongodb\._tcp"
                ):
                    uri_parser.parse_uri(uri)
            else:
                read = uri_parser.parse_uri(uri)
                assert set(read["nodelist"]) == found
                assert read["options"]["tls"] is True


# What cannot work


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda: hosts("kafka.default", name="kafka", replicas=3), "'kafka.default': expected the port as"),
        (lambda: hosts("kafka.default:kafka", name="kafka", replicas=3), "expected the port as a number"),
        (lambda: hosts("kafka.default:9092"), "the StatefulSet's name and the number"),
        (
            lambda: hosts("kafka.default:9092", name="kafka", replicas=0),
            "replicas=0: expected a whole number",
        ),
        (lambda: hosts("kafka.default:9092", name="kafka", replicas=True), "replicas=True"),
        (lambda: hosts("kafka.default:9092", name="kafka", replicas=3, start=-1), "start=-1"),
        (lambda: hosts("kafka.default:9092", name="Kafka!", replicas=3), "name='Kafka!'"),
        (lambda: hosts("kafka:9092", name="kafka", replicas=3), "NAMESPACE"),
        (lambda: kafka([]), "no hosts"),
        (lambda: kafka("kafka-0:9092"), "'kafka-0:9092': expected what hosts"),  # type: ignore[arg-type]
        (lambda: kafka(["kafka-0:9092"]), "'kafka-0:9092': expected a HostPort"),  # type: ignore[list-item]
        (lambda: kraft_voters((KAFKA[0], KAFKA[2])), "1 missing between 0 and 2"),
        (lambda: kraft_voters([HostPort("10.0.0.1", 9093)]), "10.0.0.1:9093: no ordinal"),
        (lambda: kraft_voters([KAFKA[0], HostPort("other-0.x", 1)]), "ordinal 0 is there twice"),
        (lambda: kraft_voters(KAFKA, offset=-1), "offset=-1"),
        (lambda: rabbitmq_nodes(SIX), "[2001:db8::7]:5432: a node of RabbitMQ"),
        (lambda: rabbitmq_nodes(KAFKA, name="a b"), "name='a b'"),
        (lambda: postgres(SIX, dbname="d", sqlalchemy=True), "cannot carry an IPv6 address"),
        (lambda: postgres(KAFKA, dbname="d", password="hush"), "without user="),
        (lambda: amqp_urls(KAFKA, user="u", password=b"hush"), "password=: expected a"),  # type: ignore[arg-type]
    ],
)
def test_what_cannot_work_says_what_to_write(made: Callable[[], object], said: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        made()
    assert said in str(raised.value)
    assert "hush" not in str(raised.value)
    assert "\n" not in str(raised.value)
