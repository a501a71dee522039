"""What a machine must have for these tests, and the words for what it lacks."""

from __future__ import annotations

import os
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest

JARS = Path.home() / ".cache" / "peerdiscover" / "kafka-4.4.0"
"""Where `kafka-pom.xml` puts them."""
_JARS_BY = "mvn -q -f tests/integration/brokers/kafka-pom.xml dependency:copy-dependencies"
_DEBIAN = {
    "etcd": "etcd-server",
    "initdb": "postgresql",
    "java": "default-jre-headless",
    "memcached": "memcached",
    "nats-server": "nats-server",
    "rabbitmq-server": "rabbitmq-server",
    "redis-server": "redis-server",
}
_ASIDE = "/usr/sbin", *map(str, Path("/usr/lib/postgresql").glob("*/bin"))
"""Folders of programs that Debian keeps off the PATH."""


def require(program: str, *drivers: str) -> None:
    """Skips the test, or fails it where CI is set, if something is not here. One line says how to get it."""
    path = os.pathsep.join([os.environ["PATH"], *_ASIDE])
    missing = None
    if shutil.which(program, path=path) is None:
        missing = f"{program} is not here: apt-get install {_DEBIAN[program]}"
    elif program == "java" and not any(JARS.glob("kafka_*.jar")):
        missing = f"Kafka's jars are not here: {_JARS_BY}"
    elif any(find_spec(driver) is None for driver in drivers):
        missing = "drivers of brokers are not here: pip install '.[brokers]'"
    if missing and os.environ.get("CI"):
        pytest.fail(missing)
    if missing:
        pytest.skip(missing)
