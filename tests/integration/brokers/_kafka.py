"""Kafka: one topic for each client; a lane is a partition, and each pod leads one of the three."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from importlib import import_module
from typing import Any

from peerdiscover import brokers

from ._asyncio import event_loop
from ._load import Options, Pods

kafka = import_module("kafka")
aiokafka = import_module("aiokafka")
confluent_kafka = import_module("confluent_kafka")
confluent_admin = import_module("confluent_kafka.admin")
SERVER = "Kafka"
PORT, LANES, KEEPS, CONSUMES = 9092, 3, True, True
WAIT = 10
"""Seconds for one acknowledgement."""
SOON = {"metadata_max_age_ms": 1000}
"""A consumer that comes before the topic is known everywhere would look again after five minutes."""


class _Topic:
    """Who comes first, the one that reads or the one that writes, makes the topic."""

    _producer: Any = None
    _consumer: Any = None

    def __init__(self, pods: Pods, options: Options) -> None:
        self._pods = pods
        self._topic = re.sub(r"\W+", "-", options["client"])
        admin = confluent_admin.AdminClient({"bootstrap.servers": f"{options['service']}:{PORT}"})
        made = admin.create_topics([confluent_admin.NewTopic(self._topic, LANES, 3)])
        with suppress(confluent_kafka.KafkaException):
            made[self._topic].result(WAIT)

    def close(self) -> None: ...


class KafkaPython(_Topic):
    def write(self, lane: int, text: str) -> None:
        if self._producer is None:
            pods = self._pods
            self._producer = kafka.KafkaProducer(bootstrap_servers=brokers.kafka(pods), acks="all")
        self._producer.send(self._topic, text.encode(), partition=lane).get(timeout=WAIT)

    def read(self) -> Iterable[str]:
        if self._consumer is None:
            servers = brokers.kafka(self._pods)
            group = {"group_id": self._topic, "auto_offset_reset": "earliest", **SOON}
            self._consumer = kafka.KafkaConsumer(self._topic, bootstrap_servers=servers, **group)
        for records in self._consumer.poll(500).values():
            for record in records:
                yield record.value.decode()


class Aiokafka(_Topic):
    def write(self, lane: int, text: str) -> None:
        event_loop().call(self._write, lane, text)

    async def _write(self, lane: int, text: str) -> None:
        if self._producer is None:
            pods = self._pods
            self._producer = aiokafka.AIOKafkaProducer(bootstrap_servers=brokers.kafka(pods), acks="all")
            await self._producer.start()
        await self._producer.send_and_wait(self._topic, text.encode(), partition=lane)

    def read(self) -> Iterable[str]:
        texts: list[str] = event_loop().call(self._read)
        return texts

    async def _read(self) -> list[str]:
        if self._consumer is None:
            servers = brokers.kafka(self._pods)
            group = {"group_id": self._topic, "auto_offset_reset": "earliest", **SOON}
            self._consumer = aiokafka.AIOKafkaConsumer(self._topic, bootstrap_servers=servers, **group)
            await self._consumer.start()
        found = await self._consumer.getmany(timeout_ms=500)
        return [record.value.decode() for records in found.values() for record in records]


class Confluent(_Topic):
    def write(self, lane: int, text: str) -> None:
        if self._producer is None:
            self._producer = self.producer(self._pods)
        said: list[Any] = []
        self._producer.produce(
            self._topic, text.encode(), partition=lane, on_delivery=lambda error, _: said.append(error)
        )
        while not said:
            self._producer.poll(0.1)
        if said[0] is not None:
            raise RuntimeError(str(said[0]))

    def producer(self, pods: Pods) -> Any:
        return confluent_kafka.Producer({
            "bootstrap.servers": ",".join(brokers.kafka(pods)), "message.timeout.ms": WAIT * 1000,
        })  # fmt: skip

    def read(self) -> Iterable[str]:
        if self._consumer is None:
            servers = ",".join(brokers.kafka(self._pods))
            group = {"group.id": self._topic, "auto.offset.reset": "earliest"}
            self._consumer = confluent_kafka.Consumer({"bootstrap.servers": servers, **group})
            self._consumer.subscribe([self._topic])
        for message in self._consumer.consume(100, timeout=0.5):
            if not message.error():
                yield message.value().decode()


class ConfluentWithAList(Confluent):
    """What looks right, is taken, and never connects."""

    def producer(self, pods: Pods) -> Any:
        settings = {"bootstrap.servers": brokers.kafka(pods), "message.timeout.ms": WAIT * 1000}
        return confluent_kafka.Producer(settings)


CLIENTS = {
    "kafka-python": KafkaPython,
    "aiokafka": Aiokafka,
    "confluent-kafka": Confluent,
    "naive: kafka-python, the headless name": KafkaPython,
    "naive: kafka-python, one address": KafkaPython,
    "naive: confluent-kafka, a list": ConfluentWithAList,
}
