"""The checks: each code with its title, what it means and what to do. docs/doctor.md shows the same texts.

Invariants:

* A code never changes its meaning, and is never given out again.
* A code is a mistake, not a place to look from: DNS, the API and files may each prove the same one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from ._object import Object

Level = Literal["error", "warning", "note"]


class Check(NamedTuple):
    """What a code stands for."""

    title: str
    when: str
    """What proves it, and at which level."""
    why: str
    """What follows from it: one sentence or two."""
    change: str
    """What mends it, in general."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A mistake that was found."""

    code: str
    level: Level
    about: Object | str
    """The object, or the name that was asked."""
    seen: str
    """What was seen: true as a sentence."""
    change: Mapping[str, Any] | str
    """The fields to write, as a merge patch of `target`; or a sentence."""
    target: Object | None = None
    also: tuple[Object, ...] = ()
    """Other objects that have a part in it: their annotations may ignore it, too."""

    @property
    def is_ignored(self) -> bool:
        return any(isinstance(one, Object) and self.code in one.ignored for one in (self.about, *self.also))


@dataclass(frozen=True, slots=True)
class NotChecked:
    """What could not be looked at, and why."""

    codes: tuple[str, ...]
    why: str
    about: Object | None = None
    """The object whose annotation may ignore it."""


CHECKS: dict[str, Check] = {
    "PD101": Check(
        "No nameserver answers",
        "Error: none of the nameservers in use answers three questions over UDP, nor one over TCP. Warning: "
        "some of them do not. Warning, in manifests: egress policies select the pods, and none of their "
        "rules lets UDP out to port 53 or 5353. SERVFAIL and REFUSED are answers.",
        "A pod that cannot ask DNS finds no Service at all.",
        "Allow UDP and TCP to port 53 (on OpenShift 5353) in the egress policy.",
    ),
    "PD102": Check(
        "Not the cluster's DNS",
        "Error: in a pod, no nameserver was given, resolv.conf has no search entry `svc.…`, and the name is "
        "not known. Warning, in manifests: `hostNetwork: true` without `dnsPolicy: ClusterFirstWithHostNet`; "
        "`dnsPolicy: Default`; `dnsPolicy: None` without a `svc.` search entry; of pods that a headless "
        "Service lists, or that wait or ask for one by a name of ours.",
        "Such a pod asks the node's DNS, which knows no Services.",
        "Write `dnsPolicy: ClusterFirstWithHostNet` beside `hostNetwork: true`; else `ClusterFirst`.",
    ),
    "PD103": Check(
        "Another cluster domain",
        "Error: TXT `dns-version.ZONE` does not exist for the zone that is asked, and does for a zone of the "
        "pod's search list.",
        "Names in a zone that the cluster does not have are not found, whatever runs there.",
        "Drop the setting: the zone is read from resolv.conf. Or set PEERDISCOVER_CLUSTER_DOMAIN to the "
        "cluster's own.",
    ),
    "PD104": Check(
        "There are no pods",
        "Error: the name is not found or empty, twice, once over TCP. The cause is looked for in this order: "
        "no such Service; a selector that selects nothing (PD301); pods that wait for themselves (PD403); "
        "pods of which none is ready; no pod yet.",
        "DNS says the same for a Service that does not exist and for one without ready pods.",
        "It depends on the cause, which `kubectl get service,pods` shows to a person who may read them.",
    ),
    "PD105": Check(
        "The Service is not headless",
        "Error, by name: the answer is one virtual address, or its EndpointSlices lack the headless label. "
        "In manifests, for the Service that a StatefulSet names: warning if a headless Service selects these "
        "pods alone, or if there are two replicas or more and none selects them; note if only a shared one "
        "does. An ExternalName is none of this.",
        "Behind a virtual address kube-proxy picks a pod for each connection: there is no set to see.",
        "`clusterIP: None`. It cannot be changed in place: delete the Service, and apply it anew.",
    ),
    "PD106": Check(
        "The Service has no such port",
        "Error: the name asks for a named port whose SRV record does not exist, while the Service has "
        "others. Warning: it asks for a number that no SRV record has.",
        "A port's name is looked up in DNS; a number is used as it is, against what DNS says.",
        "Write one of the ports that the Service has; its name is the safer choice.",
    ),
    "PD107": Check(
        "No DNS over TCP",
        "Warning: a server answers over UDP, and fails twice over TCP. Error: its answer is cut over UDP "
        "now. Warning, in manifests: egress rules cover UDP 53 and no TCP.",
        "What does not fit into a datagram is asked over TCP: it works until there are more pods.",
        "Allow TCP to port 53 beside UDP.",
    ),
    "PD108": Check(
        "The answer does not fit",
        "Warning: the answer is truncated even over TCP, or from a server that has no TCP listener. Not for "
        "`k8s:`, which asks no DNS.",
        "Each answer is another random part of the set, so pods come and go without a reason.",
        "Read EndpointSlices instead: write `k8s:` before the name.",
    ),
    "PD109": Check(
        "Answers disagree",
        "Warning: five answers a server are not one set, or lack pods that are ready in the EndpointSlices; "
        "asked again after the TTL they still do, and the EndpointSlices did not change meanwhile.",
        "Which pods a client sees depends on which server it happens to ask.",
        "Look at the nameservers: one of them may have lost its watch of the API server.",
    ),
    "PD201": Check(
        "A pod refuses",
        "Error: a TCP connection to a pod is refused or reset, twice, one second apart. Note: the "
        "EndpointSlices say that this pod is not serving. At most 100 pods are tried, 32 at once.",
        "A headless Service translates no ports: the port in the name must be the one the pod listens on.",
        "Name a port on which the pods listen, or let them listen on this one, on all addresses.",
    ),
    "PD202": Check(
        "A pod does not answer",
        "Error: a TCP connection to a pod times out (1 s), twice. Warning, in manifests: ingress policies "
        "select the pods, and no rule covers a port of the Service that a container has.",
        "Packets vanish: usually a NetworkPolicy, or a node that is gone.",
        "Allow the port in the ingress policy.",
    ),
    "PD203": Check(
        "Listens on loopback alone",
        "Error: this pod is in the set and refuses at its own address, and /proc/net/tcp has a listener for "
        "that port on loopback and on nothing else.",
        "Only programs in the pod itself can connect.",
        "Let the server listen on 0.0.0.0, or :: (often `--host 0.0.0.0`).",
    ),
    "PD204": Check(
        "No peer is this pod",
        "Warning: doctor runs in a pod whose labels match the Service's selector and which is ready, and no "
        "peer is this pod. Note: it is not ready. Not checked if the Service and the pod may not be read.",
        "`me` is None, and this pod is a peer of itself to pickers and broadcasts.",
        "Set POD_NAME and POD_IP by the downward API.",
    ),
    "PD205": Check(
        "An ordinal twice",
        "Note, or warning if the Service was asked for by name: two peers have one ordinal, or two "
        "StatefulSets share one governing Service.",
        "Looking pods up by ordinal is ambiguous.",
        "Use hostnames in place of ordinals, or give each StatefulSet a Service of its own.",
    ),
    "PD301": Check(
        "The selector selects nothing",
        "Error: no pod and no template in the namespace has all labels of the selector. Warning: it fails by "
        "a label that no template has, which may be set at run time; or there is no selector, and no "
        "EndpointSlice or Endpoints. In files it is not checked if the namespace has no workload there, or "
        "has kinds that may make pods and are not Kubernetes's own, or was exported without its pods.",
        "A Service without pods is not found in DNS.",
        "Write the labels of the pods' template into the selector.",
    ),
    "PD302": Check(
        "targetPort names no port of a container",
        "Error: no port of the Service leads anywhere, or it is the port that was asked for. Warning: other "
        "ports do, or only some workloads lack it. By EndpointSlices: a slice lacks a port that others have.",
        "A pod without that port is listed without it: it has an address in DNS and no SRV record.",
        "Write the name that the container's port has, or name the container's port.",
    ),
    "PD303": Check(
        "`port` is not the pod's port",
        "Warning: the number that targetPort means in a workload differs from `port`.",
        "Behind a headless Service nothing translates ports: `port` means nothing, and DNS gives targetPort.",
        "Write the same number into both.",
    ),
    "PD304": Check(
        "No container declares the port",
        "Warning: targetPort is a number, the containers declare ports of that protocol, and not this one.",
        "Most likely nothing listens there, so connections are refused.",
        "Write a port that the containers have; or declare this one, if they do listen on it.",
    ),
    "PD305": Check(
        "The Service has no ports",
        "Note: a headless Service has no `ports`. Warning: it was asked for by name and has a StatefulSet.",
        "Without ports there are no SRV records, so hostnames and ordinals cannot be discovered.",
        "Give it the ports that the pods listen on.",
    ),
    "PD306": Check(
        "An annotation without effect",
        "Error: `service.alpha.kubernetes.io/tolerate-unready-endpoints` is true, and "
        "`publishNotReadyAddresses` is not.",
        "The annotation has had no effect since Kubernetes 1.24: pods that are not ready are not listed.",
        "`publishNotReadyAddresses: true`.",
    ),
    "PD307": Check(
        "Pods that are not ready are listed",
        "Warning, if the Service was asked for by name: an endpoint is ready and not serving. Without a name "
        "doctor only counts the Services in files that list such pods: most do so on purpose.",
        "publishNotReadyAddresses lets peers meet before they are ready; requests go to such pods, too.",
        "Make a second headless Service without it, and use that for requests.",
    ),
    "PD308": Check(
        "Pods of Jobs are listed",
        "Warning: the selector matches the template of a Job or CronJob beside that of another workload.",
        "While the Job runs, requests go to its pods.",
        "Add a label to the selector that the Job's pods do not have; or give the Job's pods other labels.",
    ),
    "PD401": Check(
        "serviceName leads elsewhere",
        "The Service that a StatefulSet names is missing or does not select its pods; or it names none, and "
        "a headless Service selects this workload alone. Error if a headless Service beside it selects these "
        "pods (in files, if it selects them alone); else warning. Not checked if the Service is not in the "
        "files, and something there that is not Kubernetes's own may make it.",
        "A pod has a name in DNS only behind the Service that its StatefulSet names.",
        "Set serviceName. It is immutable: delete the StatefulSet with `--cascade=orphan`, and apply it "
        "anew; its pods keep running, and get their names as they are replaced.",
    ),
    "PD402": Check(
        "No readiness probe",
        "Warning: no container or sidecar has a readiness probe, there are no readiness gates, and a "
        "headless Service that lists only ready pods selects them. Jobs need none.",
        "A pod is in DNS as soon as its containers run, before the server in it listens.",
        "Give the container a readiness probe on the Service's port.",
    ),
    "PD403": Check(
        "The pods wait for themselves",
        "Error: the pods run `peerdiscover wait NAME`, and NAME's Service selects this workload alone. "
        "Either it lists only ready pods; or it lists all, two or more are expected, and the StatefulSet "
        "starts one after the other.",
        "A pod that waits is not ready, so the first ones wait for each other for ever.",
        "`publishNotReadyAddresses: true` for the Service, and `podManagementPolicy: Parallel`.",
    ),
    "PD404": Check(
        "Rolling restarts outrun DNS",
        "Note: the name is asked by DNS, the StatefulSet has two replicas or more, and minReadySeconds is "
        "less than 1.2 times the TTL and a second; or it is `Parallel`, with which older releases of "
        "Kubernetes ignore minReadySeconds.",
        "The next pod ends before clients know the address of the one that was replaced.",
        "`minReadySeconds: 8` for a TTL of 5 s.",
    ),
    "PD501": Check(
        "EndpointSlices may not be read",
        "Error for `k8s:`, warning for `auto:`: the API server answers 401 or 403, or there is no token. "
        "Warning, in manifests: a container uses such a name, and its token is not mounted, or no Role "
        "bound to its account allows list and watch there. Not checked if a ClusterRole is bound to it that "
        "is not there.",
        "`k8s:` fails without that right; `auto:` uses DNS instead, and sees changes a TTL later.",
        "Apply the Role that is printed: it allows list and watch of EndpointSlices in one namespace.",
    ),
}


def page(code: str) -> str:
    """The page of a check, as `--explain` shows it and docs/doctor.md has it."""
    check = CHECKS[code]
    return (
        f"## {code} {check.title}\n\n{check.why}\n\n**When.** {check.when}\n\n"
        f"**What to change.** {check.change}\n"
    )
