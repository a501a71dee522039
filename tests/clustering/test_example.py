"""The example's store as three processes that find each other by the nameserver of `HeadlessService`."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from peerdiscover import Peer
from peerdiscover.testing import HeadlessService
from tests.waiting import LONG, eventually

STORE = Path(__file__).parents[2] / "examples" / "cluster.py"


@contextmanager
def member(svc: HeadlessService, peer: Peer) -> Iterator[subprocess.Popen[str]]:
    """One pod's process, which listens at the pod's address."""
    environment = {
        **os.environ,
        "PEERS": "kv-headless.prod:http",
        "PEERDISCOVER_NAMESERVERS": svc.nameserver,
        "LISTEN": f"{peer.address}:{peer.port}",
        "POD_NAME": peer.key,
    }
    process = subprocess.Popen(
        [sys.executable, str(STORE)], env=environment, stdout=subprocess.PIPE, text=True
    )
    with process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(LONG)


def entered(process: subprocess.Popen[str]) -> str:
    """What it says once it is in a cluster, but for its own name."""
    assert process.stdout is not None
    return process.stdout.readline().partition(" ")[2]


def shows(peer: Peer, value: str) -> bool:
    return httpx.get(peer.url("/kv/sky"), timeout=LONG).text == value


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has all of 127.0.0.0/8 on its loopback")
def test_three_processes_form_one_cluster_and_keep_what_it_acknowledged() -> None:
    network = f"127.{random.randrange(1, 255)}.{random.randrange(255)}"
    addresses = [f"{network}.{i}" for i in (1, 2, 3)]
    with (
        HeadlessService("kv-headless.prod", 3, {"http": 8080}, pods=False, addresses=addresses) as svc,
        ExitStack() as pods,
    ):
        peers = list(svc.peers)
        assert [peer.key for peer in peers] == ["kv-0", "kv-1", "kv-2"]
        with member(svc, peers[0]) as first:
            processes = [first, *(pods.enter_context(member(svc, peer)) for peer in peers[1:])]
            clusters = {entered(process) for process in processes}
            assert len(clusters) == 1
            assert httpx.put(peers[0].url("/kv/sky"), content="blue", timeout=LONG).status_code == 200
        # The pod that formed it comes back with nothing, and must not form another one.
        back = pods.enter_context(member(svc, peers[0]))
        assert entered(back) in clusters
        for peer in peers:
            eventually(lambda peer=peer: shows(peer, "blue"))  # type: ignore[misc]
