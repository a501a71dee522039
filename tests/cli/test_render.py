"""`peerdiscover render`: settings of brokers, from the arguments and the pod's own name alone."""

from __future__ import annotations

import pytest

from .running import run

PARENT = "kafka-headless.default.svc.cluster.local"
KAFKA = ("kafka-headless.default:9092", "--name", "kafka", "--replicas", "2")


def test_hosts_one_a_line_or_as_separated() -> None:
    done = run("render", "hosts", *KAFKA)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [f"kafka-0.{PARENT}:9092", f"kafka-1.{PARENT}:9092"]
    assert run("render", "hosts", *KAFKA, "--separator", " ").stdout.split(" ") == [
        f"kafka-0.{PARENT}:9092",
        f"kafka-1.{PARENT}:9092\n",
    ]


def test_kafka_is_one_line_whose_set_may_be_the_pods_own() -> None:
    service = "kafka-headless:9092"
    done = run("render", "kafka", service, "--replicas", "2", "--namespace", "default", POD_NAME="kafka-7")
    assert done.stdout == f"kafka-0.{PARENT}:9092,kafka-1.{PARENT}:9092\n"


def test_a_pod_whose_hostname_is_its_full_name() -> None:
    """`setHostnameAsFQDN`: the first label says which pod it is."""
    arguments = ("kafka", "kafka-headless.default:9092", "--replicas", "1")
    assert run("render", *arguments, HOSTNAME=f"kafka-7.{PARENT}").stdout == f"kafka-0.{PARENT}:9092\n"


@pytest.mark.parametrize("dynamic", [False, True])
def test_kraft_is_of_this_pod_with_voters_or_bootstrap_servers_and_never_both(dynamic: bool) -> None:
    service, more = "kafka-headless.default:9093", ("--dynamic",) if dynamic else ()
    done = run("render", "kraft", service, "--replicas", "2", *more, POD_NAME="kafka-1")
    assert (done.returncode, done.stderr) == (0, "")
    settings = dict(line.split("=", 1) for line in done.stdout.splitlines())
    zero, one = (f"kafka-{i}.{PARENT}:9093" for i in range(2))
    quorum = (
        {"controller.quorum.bootstrap.servers": f"{zero},{one}"}
        if dynamic
        else {"controller.quorum.voters": f"0@{zero},1@{one}"}
    )
    advertised = {"advertised.listeners": f"PLAINTEXT://kafka-1.{PARENT}:9092"}
    assert settings == {"node.id": "1", **advertised, **quorum}


def test_kraft_ids_may_be_offset_and_ordinals_may_begin_later() -> None:
    service = "kafka-headless.default:9093"
    more = ("--offset", "100", "--start", "3")
    done = run("render", "kraft", service, "--replicas", "1", *more, POD_NAME="kafka-3")
    assert done.stdout.splitlines() == [
        "node.id=103",
        f"advertised.listeners=PLAINTEXT://kafka-3.{PARENT}:9092",
        f"controller.quorum.voters=103@kafka-3.{PARENT}:9093",
    ]


def test_rabbitmq_counts_its_nodes_from_1() -> None:
    own = "rabbit@mq-1.mq.shop.svc.cluster.local"
    done = run("render", "rabbitmq", "mq.shop:5672", "--replicas", "2", POD_NAME="mq-1")
    assert done.stdout.splitlines() == [
        f"# Long names need in the environment: RABBITMQ_USE_LONGNAME=true RABBITMQ_NODENAME={own}",
        "cluster_formation.peer_discovery_backend = classic_config",
        "cluster_formation.classic_config.nodes.1 = rabbit@mq-0.mq.shop.svc.cluster.local",
        "cluster_formation.classic_config.nodes.2 = rabbit@mq-1.mq.shop.svc.cluster.local",
        "cluster_formation.target_cluster_size_hint = 2",
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("kafka", "kafka.default:kafka", "--replicas", "2"), "expected the port as a number"),
        (("kafka", "kafka.default:9092", "--replicas", "0"), "replicas=0"),
        (("kafka", "kafka:9092", "--replicas", "2"), "NAMESPACE"),
        (("kraft", "kafka.default:9093", "--replicas", "1"), "'kafka-1', and it is none of kafka-0"),
        (("kafka", "kafka.default:9092"), "--replicas"),
        (("postgres", "pg.default:5432", "--replicas", "2"), "invalid choice: 'postgres'"),
        (("kafka", *KAFKA, "--dynamic"), "--dynamic is for render kraft only"),
        (("rabbitmq", *KAFKA, "--offset", "1"), "--offset is for render kraft only"),
        (("kraft", *KAFKA, "--separator", ""), "--separator is for render hosts and kafka only"),
    ],
)
def test_what_cannot_work_is_status_2_and_says_what_to_write(arguments: tuple[str, ...], said: str) -> None:
    done = run("render", *arguments, POD_NAME="kafka-1")
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr


def test_a_pod_without_an_ordinal_says_no_set() -> None:
    done = run("render", "kafka", "kafka.default:9092", "--replicas", "2", POD_NAME="job-x7k2p")
    assert done.returncode == 2
    assert "'job-x7k2p', has no ordinal" in done.stderr
    assert "--name SET" in done.stderr
