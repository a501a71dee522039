"""Which clusters there are on this machine, and the end of those whose process is gone.

Each cluster has a name, a folder below ROOT and namespaces whose names begin with its own. Its keeper
holds a lock on a file in the folder for as long as it lives: a folder whose lock is free belongs to a
dead cluster, however it died. The next start clears such clusters away before it makes its own.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

from ._network import delete_namespace, namespaces, processes_in

# On disk and at a fixed place: etcd's data are large, and the next start must find what the last one left.
ROOT = Path("/var/tmp/peerdiscover-clusters")

PREFIX = "pd-"


def new() -> tuple[str, Path, int]:
    """A name that no other cluster has, its folder, and the descriptor that holds the folder's lock."""
    with _registry():
        name = PREFIX + secrets.token_hex(3)
        folder = ROOT / name
        folder.mkdir(mode=0o755)
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        return name, folder, lock


def living() -> list[Path]:
    """The folders of the clusters that serve now, the youngest last. One that is coming up does not yet."""
    if not ROOT.is_dir():
        return []
    folders = [lock.parent for lock in sorted(ROOT.glob("*/lock"), key=_made)]
    return [folder for folder in folders if (folder / "control").exists() and not _is_dead(folder)]


def sweep() -> list[str]:
    """Clears away what clusters left that did not end by themselves; their names."""
    with _registry():
        dead = [folder.name for folder in ROOT.iterdir() if folder.is_dir() and _is_dead(folder)]
        for name in dead:
            clear(name)
    return dead


def clear(name: str) -> None:
    """Ends what runs in the cluster's namespaces, then removes the namespaces and the folder.

    Done twice over it does nothing the second time.
    """
    own = [namespace for namespace in namespaces() if namespace == name or namespace.startswith(f"{name}-")]
    for namespace in own:
        for pid in processes_in(namespace):
            if pid != os.getpid():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
    for namespace in own:
        delete_namespace(namespace)
    shutil.rmtree(ROOT / name, ignore_errors=True)


@contextlib.contextmanager
def _registry() -> Iterator[None]:
    """One process at a time makes or clears clusters: a folder is never seen before it is locked."""
    ROOT.mkdir(mode=0o755, parents=True, exist_ok=True)
    with (ROOT / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _made(file: Path) -> float:
    """When; 0 where it has gone meanwhile."""
    with contextlib.suppress(FileNotFoundError):
        return file.stat().st_mtime
    return 0.0


def _is_dead(folder: Path) -> bool:
    try:
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(lock)
    return True
