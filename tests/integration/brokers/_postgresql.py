"""PostgreSQL: there is one lane, since one pod is the primary."""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib import import_module
from typing import Any

from peerdiscover import brokers

from ._asyncio import event_loop
from ._load import Options, Pods

psycopg = import_module("psycopg")
asyncpg = import_module("asyncpg")
sqlalchemy = import_module("sqlalchemy")
SERVER = "PostgreSQL"
PORT, LANES, KEEPS, CONSUMES = 5432, 1, True, False
USER, PASSWORD = "app", "p@ss/w:rd"


class _Table:
    """Each client has a table of its own, which the first one to come makes."""

    _connection: Any = None

    def __init__(self, pods: Pods, options: Options) -> None:
        self._pods = pods
        self._table = re.sub(r"\W+", "_", options["client"])
        self.execute(f"CREATE TABLE IF NOT EXISTS {self._table} (text TEXT)")

    def execute(self, statement: str) -> list[str]:
        """One statement, committed; the first column of what it returns. Connects if it must."""
        raise NotImplementedError

    def write(self, _lane: int, text: str) -> None:
        self.execute(f"INSERT INTO {self._table} VALUES ('{text}')")

    def read(self) -> Iterable[str]:
        return self.execute(f"SELECT text FROM {self._table}")

    def close(self) -> None: ...


class Psycopg(_Table):
    def execute(self, statement: str) -> list[str]:
        if self._connection is None or self._connection.closed:
            self._connection = self.connect(self._pods)
        cursor = self._connection.execute(statement)
        return [row[0] for row in cursor] if cursor.description else []

    def connect(self, pods: Pods) -> Any:
        uri = brokers.postgres(pods, dbname="app", user=USER, password=PASSWORD, connect_timeout=3)
        return psycopg.connect(uri, autocommit=True)

    def close(self) -> None:
        self._connection.close()


class Asyncpg(_Table):
    def execute(self, statement: str) -> list[str]:
        return event_loop().call(self._execute, statement)

    async def _execute(self, statement: str) -> list[str]:
        if self._connection is None or self._connection.is_closed():
            uri = brokers.postgres(self._pods, dbname="app", user=USER, password=PASSWORD)
            self._connection = await asyncpg.connect(uri, timeout=3)
        return [row[0] for row in await self._connection.fetch(statement, timeout=10)]


class SQLAlchemy(_Table):
    _engine: Any = None

    def execute(self, statement: str) -> list[str]:
        if self._engine is None:
            self._engine = self.engine(self._pods)
        with self._engine.begin() as connection:
            result = connection.execute(sqlalchemy.text(statement))
            return list(result.scalars()) if result.returns_rows else []

    def engine(self, pods: Pods) -> Any:
        login = {"user": USER, "password": PASSWORD}
        url = brokers.postgres(pods, dbname="app", **login, sqlalchemy=True, connect_timeout=3)
        return sqlalchemy.create_engine(sqlalchemy.make_url(url).set(drivername="postgresql+psycopg"))


CLIENTS = {
    "psycopg": Psycopg,
    "asyncpg": Asyncpg,
    "SQLAlchemy": SQLAlchemy,
    "naive: psycopg, the headless name": Psycopg,
    "naive: psycopg, one address": Psycopg,
}
