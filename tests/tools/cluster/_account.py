"""A pod's view of the API server for a command of this machine: the environment and the service account."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ._network import API

_FOLDER = "/var/run/secrets/kubernetes.io/serviceaccount"

ENVIRONMENT = {"KUBERNETES_SERVICE_HOST": API, "KUBERNETES_SERVICE_PORT": "443"}


def with_account(folder: Path, ca: Path, token: str, namespace: str, command: Sequence[str]) -> list[str]:
    """The command, where the folder of the service account holds these; `folder` is where they are kept."""
    folder.mkdir(exist_ok=True)
    (folder / "ca.crt").write_bytes(ca.read_bytes())
    (folder / "token").write_text(token)
    (folder / "namespace").write_text(namespace)
    # /var/run is /run. The mounts are seen by this command alone.
    script = f'mount -t tmpfs none /run && mkdir -p {_FOLDER} && cp "$0"/* {_FOLDER} && exec "$@"'
    return ["unshare", "--mount", "sh", "-c", script, str(folder), *command]
