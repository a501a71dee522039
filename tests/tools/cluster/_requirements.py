"""What a machine must have to carry a cluster, and the words for what it lacks."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

# program: Debian's package
_PROGRAMS = {
    "ip": "iproute2",
    "openssl": "openssl",
    "nsenter": "util-linux",
    "unshare": "util-linux",
    "setpriv": "util-linux",
    "mount": "mount",
    "hostname": "hostname",
}


class Unavailable(Exception):
    """This machine cannot carry a cluster. The text is one line: what is missing and how to get it."""


def check_machine() -> None:
    """Raises `Unavailable`, unless this is Linux, with root and the programs that a cluster needs."""
    if sys.platform != "linux":
        raise Unavailable("the test cluster needs Linux: it is made of network namespaces")
    if os.geteuid() != 0:
        raise Unavailable("the test cluster needs root: it makes network namespaces (sudo, or a container)")
    if not Path("/proc/self/ns/net").exists():
        raise Unavailable("the test cluster needs a kernel with network namespaces")
    missing = sorted({package for program, package in _PROGRAMS.items() if shutil.which(program) is None})
    if missing:
        raise Unavailable(
            f"the test cluster needs programs that are not here: apt-get install {' '.join(missing)}"
        )
    namespaces = ["unshare", "--net", "--mount", "--uts", "--ipc", "--pid", "--fork"]
    if subprocess.run([*namespaces, "true"], capture_output=True, check=False).returncode:
        raise Unavailable("the test cluster needs the right to make namespaces (docker: --privileged)")
