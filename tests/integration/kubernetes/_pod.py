"""What a pod finds of the API server, in a folder where a test exchanges the token."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from peerdiscover import Kubernetes
from peerdiscover.sources.environment import Environment
from tests.tools.cluster import Cluster


class Pod:
    """The folder of a service account, as the kubelet makes it, where the test exchanges the token."""

    def __init__(self, folder: Path, cluster: Cluster, namespace: str) -> None:
        folder.mkdir(exist_ok=True)
        self.token = folder / "token"
        (folder / "ca.crt").write_bytes(cluster.ca.read_bytes())
        (folder / "namespace").write_text(namespace)
        host, _, port = cluster.server.removeprefix("https://").partition(":")
        self._here = Environment(
            environ={"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port},
            namespace_file=folder / "namespace",
        )

    def source(self, **options: Any) -> Kubernetes:
        return Kubernetes(environment=self._here, **options)
