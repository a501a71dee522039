"""A second CoreDNS in the cluster's network: one that lost its watch, or one that is no cluster's."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.tools.cluster._binary import find
from tests.waiting import eventually


@contextmanager
def coredns(folder: Path, address: str, port: int, plugins: str) -> Iterator[str]:
    """It serves all zones with these plugins until the block ends. The caller is inside the cluster."""
    configuration = folder / f"Corefile-{port}"
    configuration.write_text(f".:{port} {{\n    bind {address}\n    errors\n    {plugins}\n}}\n")
    with (folder / f"coredns-{port}.log").open("ab") as log:
        command = [str(find()), "coredns", "-conf", str(configuration)]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        eventually(lambda: _listens(address, port) or process.poll() is not None)
        assert process.poll() is None, (folder / f"coredns-{port}.log").read_text()
        yield f"{address}:{port}"
    finally:
        process.kill()
        process.wait()


def _listens(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), 1).close()
    except OSError:
        return False
    return True
