"""Nothing of a cluster is left, however it ended; and what a machine lacks is said in words."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.tools.cluster import Cluster, ClusterError, Unavailable, _binary, _network, _registry, fixtures
from tests.waiting import LONG

_ROOT = Path(__file__).parents[4]
_OWNER = """
import sys
from tests.tools.cluster import Cluster
cluster = Cluster.start()
web = cluster.statefulset("web", 1, namespace=cluster.namespace(), command=["sleep", "1234"])
web.wait()
print(cluster.name, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def owner(shared_cluster: Cluster) -> Callable[[], tuple[subprocess.Popen[str], str]]:
    """Starts a process that owns a cluster with a pod; it, and the cluster's name."""

    def start() -> tuple[subprocess.Popen[str], str]:
        process = subprocess.Popen(
            [sys.executable, "-c", _OWNER],
            cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stdout is not None
        return process, process.stdout.readline().strip()

    return start


def test_nothing_is_left_after_stop(own_cluster: Callable[..., Cluster]) -> None:
    cluster = own_cluster()
    web = cluster.statefulset("web", 2, namespace=cluster.namespace(), command=["sleep", "1234"])
    web.wait()
    assert _left(cluster.name)
    cluster.stop()
    assert _left(cluster.name) == []
    cluster.stop()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_is_left_when_the_owner_dies(
    owner: Callable[[], tuple[subprocess.Popen[str], str]], number: signal.Signals
) -> None:
    process, name = owner()
    with process:
        process.send_signal(number)
    _wait_until_nothing_is_left(name)


def test_what_a_killed_keeper_leaves_is_cleared_by_the_next_start(
    owner: Callable[[], tuple[subprocess.Popen[str], str]], own_cluster: Callable[..., Cluster]
) -> None:
    process, name = owner()
    with process:
        (keeper,) = [pid for pid, words in _processes() if words[-2:] == ["keeper", name]]
        os.kill(keeper, signal.SIGKILL)
        deadline = time.monotonic() + LONG
        while any(str(_registry.ROOT / name) in " ".join(words) for _, words in _processes()):
            assert time.monotonic() < deadline  # the kernel ends the parts and the pod
    assert f"namespace {name}" in _left(name)
    own_cluster()
    assert _left(name) == []


def test_a_start_that_fails_says_why_and_leaves_nothing(own_cluster: Callable[..., Cluster]) -> None:
    with pytest.raises(ClusterError, match="unknown flag: --no-such-flag") as error:
        own_cluster(apiserver=["--no-such-flag"])
    assert _left(str(error.value).split()[1]) == []


def test_a_laptop_skips_and_ci_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="needs root"):
        fixtures._start()
    monkeypatch.setenv("CI", "true")
    with pytest.raises(Unavailable, match="needs root"):
        fixtures._start()


def test_without_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(Unavailable, match="needs root"):
        Cluster.start()


def test_without_programs(shared_cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(Unavailable, match="apt-get install hostname iproute2 mount openssl util-linux"):
        Cluster.start()


def test_without_the_binary(shared_cluster: Cluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("shutil.which", lambda name: f"/bin/{name}")
    with pytest.raises(Unavailable, match=r"not built: python -m tests\.tools\.cluster build"):
        Cluster.start()


def test_without_go(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(_binary, "_go", lambda: None)
    with pytest.raises(Unavailable, match=r"install Go 1\.\d+ or newer .*, then python -m tests"):
        _binary.find()
    with pytest.raises(Unavailable, match=r"Go, which is not here: install Go 1\.\d+ or newer"):
        _binary.build()


def _wait_until_nothing_is_left(name: str) -> None:
    deadline = time.monotonic() + LONG
    while left := _left(name):
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


def _left(name: str) -> list[str]:
    """Processes, namespaces and files of a cluster."""
    folders = [_registry.ROOT / name, Path("/etc/netns", name)]
    return [
        *(f"process {pid}: {words}" for pid, words in _processes() if name in " ".join(words)),
        *(f"namespace {one}" for one in _network.namespaces() if one.startswith(name)),
        *(f"folder {folder}" for folder in folders if folder.exists()),
    ]


def _processes() -> list[tuple[int, list[str]]]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = entry.joinpath("cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
        except (FileNotFoundError, ProcessLookupError):
            continue
        found.append((int(entry.name), words))
    return found
