"""What a pod that runs a command finds around it: files, mounts and environment, as a kubelet arranges them.

The root file system is this machine's. Over it lie the pod's own /etc/resolv.conf, /etc/hosts, /run (empty
but for the service account's folder), /proc, and its volumes. A volume's mountPath must exist on this
machine, or be below /mnt or /run, which are the pod's own.

A persistentVolumeClaim is a folder that outlives the pod, for as long as the cluster: one for each claim, so
one for each ordinal of a StatefulSet with volumeClaimTemplates. emptyDir, configMap and hostPath are known,
too.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from ._api import Json
from ._network import API, GATEWAY, resolv_conf

if TYPE_CHECKING:
    from ._commanded import CommandedPod

_ACCOUNT = "/run/secrets/kubernetes.io/serviceaccount"
_VARIABLE = re.compile(r"\$\$|\$\(([A-Za-z_][A-Za-z0-9_.-]*)\)")


class Sandbox:
    """The folder of one pod."""

    def __init__(self, pod: CommandedPod) -> None:
        self._pod, self._cluster = pod, pod.agent.folder
        self.folder = self._cluster / "pods" / pod.uid
        self.log = self.folder / "log"
        self.pid = self.folder / "pid"
        self.account = self.folder / "serviceaccount"
        self._volumes: list[tuple[str, Path]] = []

    async def create(self) -> None:
        """Writes all files but the token."""
        pod, options = self._pod, self._pod.agent.options
        self.account.mkdir(parents=True)
        self.folder.joinpath("home").mkdir()
        self.account.joinpath("namespace").write_text(pod.namespace)
        shutil.copy(self._cluster / "ca.crt", self.account / "ca.crt")
        self.folder.joinpath("resolv.conf").write_text(self._resolv_conf(options.search(pod.namespace)))
        self.folder.joinpath("hosts").write_text(self._hosts())
        for volume in pod.spec.get("volumes", []):
            if (source := await self._source(volume)) is not None:
                self._volumes.append((volume["name"], source))

    def remove(self) -> None:
        """The folder; not what claims hold. The log stays readable for as long as the cluster stands."""
        for name in ("serviceaccount", "home", "volumes"):
            shutil.rmtree(self.folder / name, ignore_errors=True)

    def write_token(self, token: str) -> None:
        """In place of the one before, never half written."""
        fresh = self.account / ".token"
        fresh.write_text(token)
        fresh.replace(self.account / "token")

    def enter(self, container: Json, *, mount_account: bool) -> list[str]:
        """What to run in new namespaces, before the command, so that it finds all this."""
        mounts = dict(self._volumes)
        lines = [
            "set -e",
            # /proc is still the outer one: this is the process's number as the agent knows it.
            "read -r pid rest </proc/self/stat",
            f"hostname {shlex.quote(self._pod.hostname)}",
            f"mount --bind {self._quoted('resolv.conf')} /etc/resolv.conf",
            f"mount --bind {self._quoted('hosts')} /etc/hosts",
            "mount -t tmpfs run /run",
            "mount -t tmpfs mnt /mnt",
            "mkdir -p /run/lock",
            "mount -t proc proc /proc",
        ]
        if mount_account:
            lines += [f"mkdir -p {_ACCOUNT}", f"mount --bind {self._quoted('serviceaccount')} {_ACCOUNT}"]
        for mount in container.get("volumeMounts", []):
            if mount["name"] not in mounts:
                continue
            source = mounts[mount["name"]] / mount.get("subPath", "")
            source.mkdir(parents=True, exist_ok=True)
            where = shlex.quote(mount["mountPath"])
            if mount["mountPath"].startswith(("/mnt/", "/run/", "/var/run/")):
                lines.append(f"mkdir -p {where}")
            lines.append(
                f"[ -d {where} ] || {{ echo 'volume {mount['name']}: there is no {mount['mountPath']} here; "
                "a mountPath below /mnt is made'; exit 125; }"
            )
            lines.append(f"mount --bind {shlex.quote(str(source))} {where}")
        lines.append(f"cd {shlex.quote(container.get('workingDir') or str(self.folder / 'home'))}")
        script = self.folder / f"enter-{container['name']}.sh"
        script.write_text("\n".join([*lines, f"echo $pid >{self._quoted('pid')}", 'exec "$@"', ""]))
        return ["sh", str(script)]

    def environment(self, container: Json) -> dict[str, str]:
        """The container's environment."""
        pod = self._pod
        addresses = pod.agent.addresses(pod.address)
        fields = {
            "metadata.name": pod.name,
            "metadata.namespace": pod.namespace,
            "metadata.uid": pod.uid,
            "spec.nodeName": pod.node,
            "spec.serviceAccountName": pod.account,
            "status.hostIP": "10.244.0.1",
            "status.podIP": addresses[0],
            "status.podIPs": ",".join(addresses),
        }
        for kind in ("labels", "annotations"):
            for key, value in (pod.item["metadata"].get(kind) or {}).items():
                fields[f"metadata.{kind}['{key}']"] = value
        variables = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder / "home"),
            "LANG": "C.UTF-8",
            "HOSTNAME": pod.hostname,
            "KUBERNETES_SERVICE_HOST": API,
            "KUBERNETES_SERVICE_PORT": "443",
            "KUBERNETES_SERVICE_PORT_HTTPS": "443",
        }
        for entry in container.get("env", []):
            if "valueFrom" in entry:
                variables[entry["name"]] = fields.get(
                    entry["valueFrom"].get("fieldRef", {}).get("fieldPath"), ""
                )
            else:
                variables[entry["name"]] = expanded(entry.get("value", ""), variables)
        return variables

    def _resolv_conf(self, search: str) -> str:
        """By the pod's dnsPolicy. The node's DNS is at the node's address; a test may put a server there."""
        policy = self._pod.spec.get("dnsPolicy", "ClusterFirst")
        if policy == "None":
            config = self._pod.spec["dnsConfig"]
            return resolv_conf(" ".join(config.get("searches", [])), config["nameservers"][0])
        return resolv_conf("", GATEWAY) if policy == "Default" else resolv_conf(search)

    def _hosts(self) -> str:
        """As the kubelet writes it (pkg/kubelet/kubelet_pods.go: managedHostsFileContent)."""
        pod = self._pod
        domain = f"{pod.spec.get('subdomain')}.{pod.namespace}.svc.{pod.agent.options.cluster_domain}"
        names = f"{pod.hostname}.{domain}\t{pod.hostname}" if pod.spec.get("subdomain") else pod.hostname
        own = "".join(f"{address}\t{names}\n" for address in pod.agent.addresses(pod.address))
        local = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
        return f"# Kubernetes-managed hosts file.\n{local}{own}"

    async def _source(self, volume: Json) -> Path | None:
        name: str = volume["name"]
        folder: Path = self.folder / "volumes" / name
        if claim := volume.get("persistentVolumeClaim"):
            folder = self._cluster / "claims" / self._pod.namespace / str(claim["claimName"])
        elif "hostPath" in volume:
            host: str = volume["hostPath"]["path"]
            return Path(host)
        elif "configMap" in volume:
            where = f"/api/v1/namespaces/{self._pod.namespace}/configmaps/{volume['configMap']['name']}"
            data = (await self._pod.agent.api("GET", where)).get("data", {})
            folder.mkdir(parents=True)
            for key, text in data.items():
                folder.joinpath(key).write_text(text)
        elif "emptyDir" not in volume:
            if "projected" not in volume:  # the account's folder, which is there anyway
                self._pod.say(f"volume {name} is of a kind that is not known here")
            return None
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _quoted(self, name: str) -> str:
        return shlex.quote(str(self.folder / name))


def expanded(text: str, variables: dict[str, str]) -> str:
    """`$(NAME)` replaced where the name is known; `$$` is a dollar (Kubernetes:
    third_party/forked/golang/expansion).
    """
    return _VARIABLE.sub(
        lambda found: "$" if found.group() == "$$" else variables.get(found.group(1), found.group()), text
    )
