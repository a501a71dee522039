"""Each example is run as it stands, in a cluster (its DNS at least), and with a fixed list."""

from __future__ import annotations

import asyncio
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from peerdiscover.testing import HeadlessService

EXAMPLES = Path(__file__).parents[2] / "examples"

# What each says on pods of its own: one pattern a line, in this order.
ALONE = {
    "one.py": [r"web-\d: 200 .*"] * 6,
    "many.py": [
        r"\+Peer\(web-0, .*\+Peer\(web-1, .*\+Peer\(web-2, .*",
        *[r"connected to web-[012] at .*"] * 3,
        r"\+Peer\(web-3, .*, Peer\(web-0, .*\) is now at .*",
        *[r"connected to web-[03] at .*"] * 2,
    ],
    "all.py": [
        r"web-0: 200",
        r"web-2: 200",
        r"web-1: TimeoutError\(.*",
        r"set of generation 1: incomplete",
    ],
    "failover.py": [
        *[rf"request {n}: web-[02] at attempt [12]: HTTP/1.1 200 OK" for n in range(4)],
        "the same in one call: HTTP/1.1 200 OK",
    ],
    "gossip.py": [
        r"this pod is Peer\(cache-0, .*self\)",
        *[rf"user-{n}: invalidated on cache-1, cache-2, cache-3" for n in (17, 18)],
    ],
    "cluster.py": [
        *[r"kv-[012] is in cluster kv-0-[0-9a-f]{16}"] * 3,
        "sky=blue: 3 copies",
        r"kv-1 is in cluster kv-0-[0-9a-f]{16}",
        "kv-1 came back with nothing: sky = blue",
    ],
    "statefulset.py": [
        r"wrote a to db-0 at .*",
        *[r"read a from db-[012]"] * 3,
        r"wrote b to db-0 at .*",
    ],
    "kafka_bootstrap.py": [
        "bootstrap.servers="
        + ",".join(rf"kafka-{i}\.kafka-headless\.prod\.svc\.cluster\.local:\d+" for i in range(3))
    ],
    "endpointslices.py": [
        r"web-headless.prod:http: watch failed, falling back to DNS: .*refused.*",
        *[rf"web-{n} at 127\.[0-9.:]+, zone unknown" for n in range(3)],
        "3 added, 0 removed",
    ],
    "http_client.py": [
        *[r"web-\d: 200 at attempt 1"] * 3,
        *[r"web-[02]: 200 at attempt [12]"] * 3,
        r"invalidated on web-0 web-2",
    ],
    "http_aiohttp.py": [
        *[r"GET http://web-headless/hello web-\d"] * 6,
        r"POST http://web-headless/orders web-\d",
    ],
    "http_requests.py": [
        *[r"GET http://web-headless/hello web-\d"] * 6,
        r"POST http://web-headless/orders web-\d",
    ],
    "http_grpc.py": [*[f"hello {n}" for n in range(4)], "hello from a task"],
    "laptop.py": ["2 peers, static", *[r"127\.[0-9.:]+: 200"] * 2],
}


def run(name: str, **environ: str) -> list[str]:
    """The lines that the example printed. A warning is an error, and so is anything on stderr."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PEER", "POD_", "PYTHON"))}
    result = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / name)],
        env=clean | {"GRPC_VERBOSITY": "ERROR"} | environ,  # gRPC says there what is no error, too
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (result.returncode, result.stderr) == (0, ""), result.stderr
    return result.stdout.splitlines()


def test_each_example_is_known_here() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(ALONE)


@pytest.mark.parametrize("name", ALONE)
def test_is_short(name: str) -> None:
    limit = 150 if name == "cluster.py" else 60  # that one is a whole program, with server and disk
    assert len((EXAMPLES / name).read_text().splitlines()) < limit


@pytest.mark.parametrize("name", ALONE)
def test_alone(name: str) -> None:
    lines = run(name)
    assert len(lines) == len(ALONE[name]), lines
    for line, pattern in zip(lines, ALONE[name], strict=True):
        assert re.fullmatch(pattern, line), line


# many.py waits for a quiet minute, http_grpc.py wants pods that speak gRPC, cluster.py ends with SIGTERM.
ENDS_BY_ITSELF = sorted(ALONE.keys() - {"many.py", "http_grpc.py", "cluster.py"})


@pytest.mark.parametrize("name", ENDS_BY_ITSELF)
def test_in_a_cluster(name: str) -> None:
    """As a pod `web-0` of the service itself would run it."""
    with HeadlessService("web-headless.prod", replicas=3, ports={"http": 8080}) as svc:
        lines = run(
            name,
            PEERS="web-headless:http",
            PEERDISCOVER_NAMESERVERS=svc.nameserver,
            PEERDISCOVER_NAMESPACE="prod",
            POD_NAME="web-0",
        )
        assert svc.queries
    assert "web-1" in "".join(lines)
    if name == "gossip.py":
        assert lines[0].startswith("this pod is Peer(web-0, ")
        assert lines[1] == "user-17: invalidated on web-1, web-2"


@pytest.mark.parametrize("name", ENDS_BY_ITSELF)
def test_with_a_fixed_list(name: str) -> None:
    with HeadlessService("db-headless.prod", replicas=2) as svc:
        first, second = svc.peers
        lines = run(name, PEERS=f"static:db-0={first.hostport},db-1={second.hostport}")
        assert not svc.queries
    assert lines


def test_many_lets_go() -> None:
    """Connections to pods that left are closed, and all of them in the end."""
    lines: list[str] = []
    connected = asyncio.Event()

    def note(line: object) -> None:
        lines.append(str(line))
        if sum(line.startswith("connected to") for line in lines) == 3:
            connected.set()

    main = runpy.run_path(str(EXAMPLES / "many.py"), init_globals={"print": note})["main"]

    async def story(svc: HeadlessService) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(main("web-headless.prod:http", svc.source, 3))
            await connected.wait()
            svc.scale(1)

    with HeadlessService("web-headless.prod", replicas=3, ports={"http": 8080}, ttl=1) as svc:
        asyncio.run(story(svc))
    assert lines[-1].startswith("-Peer(web-1, ")
    assert "-Peer(web-2, " in lines[-1]
