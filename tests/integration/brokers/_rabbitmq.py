"""RabbitMQ: one quorum queue for each client, written with confirms."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import Any

from peerdiscover import brokers

from ._asyncio import event_loop
from ._load import Options, Pods

pika = import_module("pika")
aio_pika = import_module("aio_pika")
kombu = import_module("kombu")
SERVER = "RabbitMQ"
PORT, LANES, KEEPS, CONSUMES = 5672, 1, True, True
USER, PASSWORD = "guest", "guest"
QUORUM = {"x-queue-type": "quorum"}


class Pika:
    """pika does not connect again by itself: a call that fails makes the next one connect."""

    _connection: Any = None
    _channel: Any = None

    def __init__(self, pods: Pods, options: Options) -> None:
        self._pods, self._queue = pods, options["client"]

    def channel(self) -> Any:
        if self._channel is None or self._channel.is_closed:
            if self._connection is None or self._connection.is_closed:
                self._connection = self.connect(self._pods)
            self._channel = self._connection.channel()
            self._channel.queue_declare(self._queue, durable=True, arguments=QUORUM)
            self._channel.confirm_delivery()
        return self._channel

    def connect(self, pods: Pods) -> Any:
        urls = brokers.amqp_urls(pods, user=USER, password=PASSWORD)
        return pika.BlockingConnection([pika.URLParameters(url) for url in urls])

    def write(self, _lane: int, text: str) -> None:
        """`basic_publish` raises unless the broker has confirmed it."""
        self.channel().basic_publish("", self._queue, text.encode(), mandatory=True)

    def read(self) -> Iterable[str]:
        channel = self.channel()
        while (found := channel.basic_get(self._queue))[0] is not None:
            yield found[2].decode()
            channel.basic_ack(found[0].delivery_tag)

    def close(self) -> None:
        self._connection.close()


class AioPika:
    """A robust connection connects again by itself, to the one name that it was given."""

    def __init__(self, _pods: Pods, options: Options) -> None:
        self._queue = options["client"]
        self._service = brokers.HostPort(options["service"], PORT)
        event_loop().call(self._connect)

    async def _connect(self) -> None:
        service = self._service
        (url,) = brokers.amqp_urls([service], user=USER, password=PASSWORD)
        self._connection = await aio_pika.connect_robust(url, timeout=5)
        self._channel = await self._connection.channel()
        self._declared = await self._channel.declare_queue(self._queue, durable=True, arguments=QUORUM)

    def write(self, _lane: int, text: str) -> None:
        event_loop().call(self._write, text)

    async def _write(self, text: str) -> None:
        message = aio_pika.Message(text.encode())
        await self._channel.default_exchange.publish(message, self._queue, timeout=5)

    def read(self) -> Iterable[str]:
        while (message := event_loop().call(self._get)) is not None:
            yield message.body.decode()
            event_loop().call(message.ack)

    async def _get(self) -> Any:
        return await self._declared.get(fail=False, timeout=5)

    def close(self) -> None: ...


class Kombu:
    """kombu tries one URL after the other; as with pika, a call that fails makes the next one connect."""

    _connection: Any = None

    def __init__(self, pods: Pods, options: Options) -> None:
        self._pods = pods
        self._queue = kombu.Queue(options["client"], durable=True, queue_arguments=QUORUM)

    def connect(self, pods: Pods) -> Any:
        urls = brokers.amqp_urls(pods, user=USER, password=PASSWORD)
        confirm = {"confirm_publish": True}
        connection = kombu.Connection(";".join(urls), connect_timeout=3, transport_options=confirm)
        return connection.ensure_connection(max_retries=len(urls), interval_start=0)

    def channel(self) -> Any:
        if self._connection is None:
            self._connection = self.connect(self._pods)
            self._queue(self._connection.default_channel).declare()
        return self._connection.default_channel

    def write(self, _lane: int, text: str) -> None:
        try:
            kombu.Producer(self.channel()).publish(text, routing_key=self._queue.name, timeout=5)
        except Exception:
            self.close()
            raise

    def read(self) -> Iterable[str]:
        try:
            queue = self._queue(self.channel())
            while (message := queue.get()) is not None:
                yield message.payload
                message.ack()
        except Exception:
            self.close()
            raise

    def close(self) -> None:
        if self._connection is not None:
            self._connection.collect(socket_timeout=1)
        self._connection = None


CLIENTS = {
    "pika": Pika,
    "aio-pika": AioPika,
    "kombu": Kombu,
    "naive: pika, the headless name": Pika,
    "naive: pika, one address": Pika,
}
