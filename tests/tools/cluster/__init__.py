"""A Kubernetes control plane with CoreDNS, for tests: real where it matters, small where it does not.

Real: etcd, kube-apiserver, kube-controller-manager (Deployments, StatefulSets, EndpointSlices, rolling
updates) and CoreDNS, from their own Go modules, in one binary (`controlplane/`). Stood in for: the scheduler
and the kubelets. There is no kube-proxy: the virtual address of a Service is given by DNS, and nobody answers
there.

    cluster = Cluster.start()
    web = cluster.statefulset("web", 3, namespace=cluster.namespace())
    web.wait()
    with cluster.inside():                # this thread's sockets are in the cluster's network
        ...                               # 10.96.0.10:53 is CoreDNS, 10.96.0.1:443 the API server
    cluster.stop()

A cluster has a network namespace, a folder and processes of its own, so several stand side by side, all with
the same addresses inside. It needs Linux, root and a binary that is built once:
`python -m tests.tools.cluster build`. Nothing of it is left after `stop()`, nor when the process that started
it is gone.
"""

from ._api import Api, ApiError
from ._cluster import Cluster, ClusterError
from ._requirements import Unavailable
from ._workload import PodInfo, Workload

__all__ = ["Api", "ApiError", "Cluster", "ClusterError", "PodInfo", "Unavailable", "Workload"]
