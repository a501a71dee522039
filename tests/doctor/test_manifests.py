"""Each mistake, made in one place of good manifests: its code and no other, and the change makes it go."""

from __future__ import annotations

import copy
import textwrap
from typing import Any

import pytest

from peerdiscover.doctor._output import change_of
from peerdiscover.doctor._report import Report, of_manifests

from ._objects import Json, Manifests, Spoil, applied, codes, findings, printed, world_of

WAIT = ["sh", "-c", "peerdiscover wait web-headless:http --min 3 && exec web"]


def test_good_ones_have_none() -> None:
    assert findings(Manifests().all, notes=True) == []
    for name in (
        "web-headless.prod:http",
        "web-headless.prod:9090",
        "web-headless.prod",
        "k8s:web-headless.prod",
    ):
        assert findings(Manifests().all, name, notes=True) == []


def spec(what: Json, **fields: object) -> Json:
    what["spec"] |= fields
    return what


def ring(m: Manifests) -> None:
    """Another Service names the pods; the headless one has pods of others, too."""
    m.copy_of(m.service, "web-vip").get("spec", {}).pop("clusterIP")
    spec(m.statefulset, serviceName="web-vip")
    another = m.copy_of(m.statefulset, "another")
    spec(another, serviceName="web-vip")


def projected(m: Manifests) -> Manifests:
    source = {"serviceAccountToken": {"path": "token"}}
    m.pod["volumes"] = [{"name": "token", "projected": {"sources": [source]}}]
    return m


def uses_the_api(m: Manifests, *, role: bool = True, **account: object) -> Manifests:
    m.container["args"] = ["--peers=k8s:web-headless:http"]
    m.more.append(
        {"kind": "ServiceAccount", "metadata": {"name": "default", "namespace": m.namespace}, **account}
    )
    rule = {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]}
    m.more.append({"kind": "Role", "metadata": {"name": "r", "namespace": m.namespace}, "rules": [rule]})
    if role:
        subjects = [{"kind": "ServiceAccount", "name": "default", "namespace": m.namespace}]
        reference = {"kind": "Role", "name": "r"}
        binding = {"kind": "RoleBinding", "metadata": {"name": "b", "namespace": m.namespace}}
        m.more.append({**binding, "roleRef": reference, "subjects": subjects})
    return m


def ports(m: Manifests) -> list[Json]:
    found: list[Json] = m.service["spec"]["ports"]
    return found


def hand_made(m: Manifests) -> None:
    """Endpoints that somebody keeps by hand, from before there were EndpointSlices."""
    m.copy_of(m.service, "db").get("spec", {}).pop("selector")
    m.more.append({"kind": "Endpoints", "metadata": {"name": "db", "namespace": m.namespace}})


def of_a_job(m: Manifests, **selector: str) -> None:
    """A headless Service for the pods of a Job, as its documentation has it."""
    m.job(app="train")
    m.copy_of(m.service, "train", selector=selector)


def rights_by(m: Manifests, *rules: Json) -> None:
    uses_the_api(m)
    (role,) = (one for one in m.more if one["kind"] == "Role")
    role["rules"] = [{**role["rules"][0], **rule} for rule in rules]


TOLERATE = {"service.alpha.kubernetes.io/tolerate-unready-endpoints": "true"}
MADE: dict[str, tuple[str, str, Spoil]] = {
    # what it is: the code, the level, the mistake
    "no DNS": ("PD101", "warning", lambda m: spec(m.policy, egress=[{"ports": [{"port": 443}]}])),
    "no egress at all": ("PD101", "warning", lambda m: spec(m.policy, egress=[])),
    "host network": ("PD102", "warning", lambda m: m.pod.update(hostNetwork=True)),
    "the node's DNS": ("PD102", "warning", lambda m: m.pod.update(dnsPolicy="Default")),
    "a DNS of its own": ("PD102", "warning", lambda m: m.pod.update(dnsPolicy="None", dnsConfig={})),
    "not headless": ("PD105", "warning", lambda m: m.service["spec"].pop("clusterIP")),
    "clusterIP is empty": ("PD105", "warning", lambda m: spec(m.service, clusterIP="")),
    "clusterIP is null": ("PD105", "warning", lambda m: spec(m.service, clusterIP=None)),
    "a gossip ring": ("PD105", "note", ring),
    "UDP alone": (
        "PD107",
        "warning",
        lambda m: spec(m.policy, egress=[{"ports": [{"protocol": "UDP", "port": 53}]}]),
    ),
    "the port is closed": (
        "PD202",
        "warning",
        lambda m: spec(m.policy, ingress=[{"ports": [{"port": 9090}]}]),
    ),
    "two sets": ("PD205", "note", lambda m: m.copy_of(m.statefulset, "another")),
    "the wrong selector": ("PD301", "error", lambda m: spec(m.service, selector={"app": "web-app"})),
    "a label set at run time": (
        "PD301",
        "warning",
        lambda m: spec(m.service, selector={"app": "web", "role": "primary"}),
    ),
    "no selector": ("PD301", "warning", lambda m: m.service["spec"].pop("selector")),
    "a name in no container": (
        "PD302",
        "warning",
        lambda m: m.service["spec"]["ports"][0].update(targetPort="web"),
    ),
    "no name leads anywhere": (
        "PD302",
        "error",
        lambda m: spec(m.service, ports=[{"name": "http", "port": 8080, "targetPort": "web"}]),
    ),
    "80 and 8080": ("PD303", "warning", lambda m: m.service["spec"]["ports"][0].update(port=80)),
    "two that are not the pods'": (
        "PD303",
        "warning",
        lambda m: (
            ports(m)[0].update(port=80, targetPort="http"),
            ports(m)[1].update(port=443, targetPort="grpc"),
        ),
    ),
    "another name and another number": (
        "PD302",
        "error",
        lambda m: (
            spec(m.service, ports=[{"name": "http", "port": 80, "targetPort": "web"}]),
            m.container["ports"].pop(),
        ),
    ),
    "a number as a text": (
        "PD302",
        "warning",
        lambda m: ports(m)[0].update(targetPort="8080"),
    ),
    "a number as a text that is not declared": (
        "PD302",
        "warning",
        lambda m: ports(m)[0].update(targetPort="80"),
    ),
    "a port that is not declared": (
        "PD304",
        "warning",
        lambda m: m.service["spec"]["ports"][1].update(port=7000),
    ),
    "no ports": ("PD305", "note", lambda m: m.service["spec"].pop("ports")),
    "the old annotation": ("PD306", "error", lambda m: m.service["metadata"].update(annotations=TOLERATE)),
    "a Job": ("PD308", "warning", lambda m: m.job(app="web")),
    "a CronJob": ("PD308", "warning", lambda m: m.job("CronJob", app="web")),
    "a Service that is not there": ("PD401", "error", lambda m: spec(m.statefulset, serviceName="web")),
    "no serviceName": ("PD401", "error", lambda m: m.statefulset["spec"].pop("serviceName")),
    "a Service of others": (
        "PD401",
        "error",
        lambda m: (
            m.copy_of(m.service, "db", clusterIP="10.96.0.7", selector={"app": "db"}),
            spec(m.statefulset, serviceName="db"),
        ),
    ),
    "no probe": ("PD402", "warning", lambda m: m.container.pop("readinessProbe")),
    "waits for itself": ("PD403", "error", lambda m: m.container.update(command=WAIT)),
    "waits one after the other": (
        "PD403",
        "error",
        lambda m: (spec(m.service, publishNotReadyAddresses=True), m.container.update(command=WAIT)),
    ),
    "no right to read": ("PD501", "warning", lambda m: uses_the_api(m, role=False)),
    "no right to read more than one": (
        "PD501",
        "warning",
        lambda m: rights_by(m, {"resourceNames": ["web-headless"]}),
    ),
    "no token": ("PD501", "warning", lambda m: uses_the_api(m, automountServiceAccountToken=False)),
}
BESIDE = {"the wrong selector": ["PD401"], "no selector": []}
"""What a mistake brings along: a selector that selects nothing leaves the StatefulSet without its Service."""
AND_THEN = {"a gossip ring": ["PD205"]}
"""What is left, as a note, when the change was applied: who shares a governing Service goes on sharing it."""


def spoiled(mistake: str) -> Manifests:
    m = Manifests()
    MADE[mistake][2](m)
    return m


@pytest.mark.parametrize("mistake", MADE)
def test_each_mistake_has_its_code_and_no_other(mistake: str) -> None:
    code, level, _ = MADE[mistake]
    found = findings(spoiled(mistake).all, notes=True)
    assert {one.code for one in found} == {code, *BESIDE.get(mistake, [])}
    assert {one.level for one in found if one.code == code} == {level}


def services_of_their_own(m: Manifests) -> None:
    """What the one change in words says: a Service for each StatefulSet."""
    (another,) = m.more
    m.copy_of(m.service, "another")
    spec(another, serviceName="another")


@pytest.mark.parametrize("mistake", MADE)
def test_the_change_makes_it_go(mistake: str) -> None:
    """Each change is read from what is printed, and applied; nothing else comes of it."""
    m = spoiled(mistake)
    objects = m.all
    for _ in range(2):  # the same mistake may be in two objects
        changes = printed(one for one in findings(objects, notes=True) if one.code == MADE[mistake][0])
        if changes == ["use hostnames in place of ordinals, or a Service for each StatefulSet"]:
            services_of_their_own(m)
            objects = m.all
        elif changes:
            objects = applied(objects, changes[0])
    assert codes(objects, notes=True) == AND_THEN.get(mistake, [])


@pytest.mark.parametrize("name", ["web-headless.prod:metrics", "k8s:web-headless.prod:80"])
def test_the_name_that_is_printed_is_right(name: str) -> None:
    (change,) = printed(findings(Manifests().all, name))
    assert codes(Manifests().all, change.removeprefix("the name: ")) == []


# What is not said


def nothing(m: Manifests, name: str | None = None) -> bool:
    return codes(m.all, name) == []


@pytest.mark.parametrize(
    "harmless",
    [
        lambda m: spec(m.policy, egress=[{}]),
        lambda m: spec(
            m.policy, egress=[{"ports": [{"protocol": "UDP", "port": 1, "endPort": 99}, {"port": 53}]}]
        ),
        lambda m: spec(m.policy, egress=[{"ports": [{"protocol": p, "port": 5353} for p in ("UDP", "TCP")]}]),
        lambda m: spec(
            m.policy, egress=[{"ports": [{"protocol": p, "port": "dns"} for p in ("UDP", "TCP")]}]
        ),
        lambda m: m.policy["spec"].update(policyTypes=["Ingress"], egress=[]),
        lambda m: m.policy["spec"].update(podSelector={"matchLabels": {"app": "db"}}, ingress=[], egress=[]),
        lambda m: m.policy["spec"].update(
            podSelector={"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["web"]}]},
            ingress=[],
        ),
        lambda m: m.pod.update(hostNetwork=True, dnsPolicy="ClusterFirstWithHostNet"),
        lambda m: m.pod.update(dnsPolicy="None", dnsConfig={"searches": ["prod.svc.cluster.local"]}),
        lambda m: spec(m.service, selector={"app": "web", "statefulset.kubernetes.io/pod-name": "web-0"}),
        lambda m: m.pod.update(
            initContainers=[{**m.container, "restartPolicy": "Always"}], containers=[{"name": "m"}]
        ),
        lambda m: (
            m.container.pop("ports"),
            m.service["spec"]["ports"].pop(0),
            m.policy["spec"].pop("ingress"),
            m.policy["spec"].update(policyTypes=["Egress"]),
        ),
        lambda m: (m.container.pop("readinessProbe"), m.pod.update(readinessGates=[{"conditionType": "x"}])),
        lambda m: (m.container.pop("readinessProbe"), spec(m.service, publishNotReadyAddresses=True)),
        lambda m: m.service["metadata"].update(annotations={**TOLERATE, "peerdiscover/ignore": "PD306"}),
        lambda m: (
            m.service["metadata"].update(annotations=TOLERATE),
            spec(m.service, publishNotReadyAddresses=True),
        ),
        lambda m: (
            m.container.update(command=WAIT),
            spec(m.service, publishNotReadyAddresses=True),
            spec(m.statefulset, podManagementPolicy="Parallel"),
        ),
        lambda m: m.container.update(command=["sh", "-c", "peerdiscover wait other:80; echo 'not closed"]),
        lambda m: m.container.update(command=["peerdiscover", "wait", "db.other:80", "--min", "2"]),
        lambda m: (
            m.copy_of(m.service, "e", type="ExternalName").get("spec", {}).pop("clusterIP"),
            spec(m.statefulset, serviceName="e"),
        ),
        uses_the_api,
        lambda m: (uses_the_api(m, automountServiceAccountToken=False), projected(m)),
        lambda m: (
            uses_the_api(m, automountServiceAccountToken=False),
            m.pod.update(automountServiceAccountToken=True),
        ),
        lambda m: (spec(m.statefulset, replicas=1), m.service["spec"].pop("clusterIP")),
        hand_made,
        lambda m: of_a_job(m, **{"job-name": "backup"}),
        lambda m: of_a_job(m, app="train", **{"batch.kubernetes.io/job-completion-index": "0"}),
        lambda m: rights_by(m, {"verbs": ["list"]}, {"verbs": ["watch"]}),
    ],
)
def test_what_is_right_is_not_found(harmless: Spoil) -> None:
    m = Manifests()
    harmless(m)
    assert nothing(m)


def test_the_change_of_a_port_keeps_the_others() -> None:
    (finding,) = findings(spoiled("80 and 8080").all)
    assert change_of(finding) == textwrap.dedent("""\
        Service prod/web-headless
          spec:
            ports:
              - name: http
                port: 8080
                targetPort: http
              - name: grpc
                port: 9090""")


@pytest.mark.parametrize(
    ("name", "code", "level"),
    [
        ("web-headless.prod:metrics", "PD106", "error"),
        ("web-headless.prod:80", "PD106", "warning"),
        ("_http._udp.web-headless.prod", None, ""),  # no port of that protocol: SRV is not served
    ],
)
def test_the_port_of_the_name(name: str, code: str | None, level: str) -> None:
    found = findings(Manifests().all, name)
    assert [(one.code, one.level) for one in found] == ([(code, level)] if code else [])


def test_a_name_makes_some_things_matter() -> None:
    name = "web-headless.prod:http"
    assert codes(spoiled("no ports").all, name) == ["PD305"]
    assert codes(spoiled("two sets").all, name) == ["PD205"]
    (finding,) = findings(spoiled("a name in no container").all, name)
    assert finding.level == "error"
    (finding,) = findings(spoiled("not headless").all, name)
    assert (finding.code, finding.level) == ("PD105", "error")


def test_a_name_is_about_that_service_alone() -> None:
    m = Manifests()
    m.copy_of(m.service, "other", selector={"app": "none"})
    assert codes(m.all) == ["PD301"]
    assert codes(m.all, "web-headless.prod:http") == []


def slice_of(*ports: str, headless: bool = True, serving: bool = True) -> Json:
    labels = {"kubernetes.io/service-name": "web-headless"}
    if headless:
        labels["service.kubernetes.io/headless"] = ""
    endpoint = {"addresses": ["10.0.0.1"], "conditions": {"ready": True, "serving": serving}}
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": f"web-{len(ports)}", "namespace": "prod", "labels": labels, "uid": "1"},
        "addressType": "IPv4",
        "ports": [{"name": name, "port": 8080} for name in ports],
        "endpoints": [endpoint],
    }


def test_slices_alone_show_some_mistakes() -> None:
    """To who may read nothing else, and of the Service that was asked for."""
    name = "web-headless.prod:http"
    assert codes([slice_of("http")], name) == []
    assert codes([slice_of("http", headless=False)], name) == ["PD105"]
    assert codes([slice_of("http", serving=False)], name) == ["PD307"]
    m = Manifests()
    m.statefulset["metadata"]["name"] = "elsewhere"
    m.statefulset["metadata"]["namespace"] = "elsewhere"
    both: list[Any] = [m.service, slice_of("http", "grpc"), slice_of("http")]
    assert codes(both, name) == ["PD302"]
    for objects in both[1:], [*Manifests().all, *both[1:]]:  # those may be read alone, or with all others
        (finding,) = findings(objects, name)
        assert finding.seen == "EndpointSlice web-1, of 1 pod, lacks the port grpc"


def test_pods_count_as_well_as_templates() -> None:
    """Of a cluster: a label that something set at run time, and pods that nothing known has made."""
    m = spoiled("a label set at run time")
    labels = {"app": "web", "role": "primary"}
    pod = {"kind": "Pod", "metadata": {"name": "web-0", "namespace": "prod", "labels": labels, "uid": "1"}}
    assert codes([*m.all, {**pod, "spec": copy.deepcopy(m.pod)}]) == []


def test_a_role_of_the_cluster_may_be_bound_in_all_of_it() -> None:
    m = uses_the_api(Manifests(), role=False)
    subjects = [{"kind": "ServiceAccount", "name": "default", "namespace": "prod"}]
    reference = {"kind": "ClusterRole", "name": "view-all"}
    binding = {"kind": "ClusterRoleBinding", "metadata": {"name": "b"}, "roleRef": reference}
    assert codes([*m.all, {**binding, "subjects": subjects}]) == []
    assert codes([*m.all, {**binding, "subjects": [{**subjects[0], "namespace": "other"}]}]) == ["PD501"]


def test_a_service_that_a_custom_resource_may_make_is_not_missed() -> None:
    m = Manifests()
    m.statefulset["spec"]["serviceName"] = "web-of-the-operator"
    custom = {"apiVersion": "example.com/v1", "kind": "Web", "metadata": {"name": "web", "namespace": "prod"}}
    m.service["spec"]["selector"] = {"app": "db"}
    db = m.copy_of(m.statefulset, "db", serviceName="web-headless")
    db["spec"]["template"]["metadata"]["labels"] = {"app": "db"}
    assert "PD401" in codes(m.all)
    report = Report()
    of_manifests(report, world_of([*m.all, custom]))
    assert "PD401" not in report.found
    (missing,) = (one for one in report.missing if "PD401" in one.codes)
    assert missing.why == "StatefulSet prod/web: a custom resource may make the Service web-of-the-operator"


@pytest.mark.parametrize(
    "selector",
    [
        {},
        {"matchLabels": {}},
        {"matchExpressions": [{"key": "app", "operator": "Exists"}]},
        {"matchLabels": {"app": "web"}, "matchExpressions": [{"key": "x", "operator": "DoesNotExist"}]},
    ],
)
def test_policies_that_select_all_pods(selector: Json) -> None:
    m = Manifests()
    spec(m.policy, podSelector=selector, egress=[])
    assert codes(m.all) == ["PD101"]
    spec(m.policy, podSelector={"matchLabels": {"app": "web", "tier": "none"}})
    assert codes(m.all) == []


def test_a_selector_of_labels_that_kubernetes_computes() -> None:
    m = Manifests()
    spec(m.service, selector={"statefulset.kubernetes.io/pod-name": "web-0"})
    assert codes(m.all) == []


def test_a_pod_of_another_namespace_is_made_by_something_else() -> None:
    m = Manifests()
    labels = {"app": "web"}
    elsewhere = {"kind": "Pod", "metadata": {"name": "web-0", "namespace": "other", "labels": labels}}
    assert [str(w) for w in world_of([*m.all, elsewhere]).workloads] == [
        "StatefulSet prod/web",
        "Pod other/web-0",
    ]
    here = {"kind": "Pod", "metadata": {"name": "web-0", "namespace": "prod", "labels": labels}}
    assert [str(w) for w in world_of([*m.all, here]).workloads] == ["StatefulSet prod/web"]


def test_what_something_else_may_make_is_not_an_error() -> None:
    m = spoiled("the wrong selector")
    alone = [m.service]
    assert findings(alone) == []
    custom = {"apiVersion": "example.com/v1", "kind": "Web", "metadata": {"name": "web", "namespace": "prod"}}
    assert codes([*m.all, custom]) == ["PD401"]


@pytest.mark.parametrize("kinds", ["Service", "StatefulSet", "Service Deployment"])
def test_not_each_kind_need_have_been_exported(kinds: str) -> None:
    """`kubectl get svc,deploy -o json`: what is not there may not have been asked for."""
    m = Manifests()
    other = m.copy_of(m.statefulset, "other")
    other["kind"] = "Deployment"
    other["spec"]["template"]["metadata"]["labels"] = {"app": "other"}
    exported = [one for one in m.all if one["kind"] in kinds.split()]
    for one in exported:
        one["metadata"]["uid"] = one["metadata"]["name"]
    found = findings(exported)
    assert [one.code for one in found] == (["PD401"] if kinds == "StatefulSet" else [])
    assert all("which is not in these files" in one.seen for one in found)
    pod = {**m.statefulset["spec"]["template"], "kind": "Pod"}
    labels = {"app": "another"}
    pod["metadata"] = {"name": "another", "namespace": "prod", "uid": "1", "labels": labels}
    if "Service" in kinds:
        assert codes([*exported, pod]) == ["PD301"]
        m.service["spec"].pop("selector")  # `kubectl get all` has no EndpointSlices
        assert codes([*exported, pod]) == []


@pytest.mark.parametrize(
    ("name", "seen"),
    [
        ("web-headless", "app: wbe selects nothing; web has app: web"),
        ("headless", "app: wbe selects nothing"),
    ],
)
def test_whose_labels_are_meant(name: str, seen: str) -> None:
    """Those of a workload that has something to do with the Service; else nothing is proposed."""
    m = Manifests()
    m.statefulset["spec"].pop("serviceName")
    db = copy.deepcopy(m.statefulset)
    db["metadata"]["name"] = db["spec"]["template"]["metadata"]["labels"]["app"] = "db"
    spec(m.service, selector={"app": "wbe"})["metadata"]["name"] = name
    (finding,) = findings([db, *m.all])
    assert (finding.code, finding.seen) == ("PD301", seen)
    assert isinstance(finding.change, str) == (name == "headless")


def test_kinds_that_make_no_pods_hide_nothing() -> None:
    m = spoiled("the wrong selector")
    api, where = "monitoring.coreos.com/v1", {"name": "web", "namespace": "prod"}
    monitor = {"apiVersion": api, "kind": "ServiceMonitor", "metadata": where}
    assert codes([*m.all, monitor]) == ["PD301", "PD401"]
    assert codes([*m.all, {**monitor, "kind": "Prometheus"}]) == ["PD401"]


def test_what_is_not_checked_is_ignored_like_what_is_found() -> None:
    m = spoiled("the wrong selector")
    m.more.append({"apiVersion": "example.com/v1", "kind": "Web", "metadata": {"name": "web"}})
    m.service["metadata"]["annotations"] = {"peerdiscover/ignore": "PD301"}
    report = Report()
    of_manifests(report, world_of(m.all))
    assert report.missing == []
    report = Report()
    of_manifests(report, world_of(m.all[:-1]))
    assert "PD301" not in {*report.found, *report.passed}, "it did not pass"


def test_a_role_of_the_cluster_that_is_not_here() -> None:
    m = uses_the_api(Manifests())
    (binding,) = (one for one in m.more if one["kind"] == "RoleBinding")
    binding["roleRef"] = {"kind": "ClusterRole", "name": "view"}
    report = Report()
    of_manifests(report, world_of(m.all))
    assert [(one.codes, one.why) for one in report.missing] == [
        (("PD501",), "StatefulSet prod/web: the ClusterRole view is not here")
    ]


def test_the_policy_of_the_pods_is_changed_and_not_that_of_all() -> None:
    m = spoiled("the port is closed")
    everything = {"podSelector": {}, "policyTypes": ["Ingress"]}
    deny = {"kind": "NetworkPolicy", "metadata": {"name": "deny", "namespace": "prod"}, "spec": everything}
    (change,) = printed(findings([deny, *m.all]))
    assert change.startswith("NetworkPolicy prod/web\n")


def test_a_service_of_another_namespace_is_named() -> None:
    m = Manifests()
    m.service["metadata"]["namespace"] = "infra"
    (finding,) = (one for one in findings(m.all) if one.code == "PD401")
    assert finding.seen.startswith("it names web-headless, which is in the namespace infra: ")


def test_who_waits_needs_the_cluster_s_dns() -> None:
    m = Manifests()
    other = m.copy_of(m.statefulset, "app", serviceName=None)
    other["spec"]["template"]["metadata"]["labels"] = {"app": "app"}
    pod = other["spec"]["template"]["spec"]
    pod |= {"hostNetwork": True}
    assert codes(m.all) == []
    pod["initContainers"] = [{"name": "wait", "command": WAIT}]
    assert codes(m.all) == ["PD102"]


def test_what_is_a_guess_is_no_change() -> None:
    """Another port of the pods than the one that is meant; one number twice, which the API refuses."""
    m = Manifests()
    spec(m.service, ports=[{"name": "sql", "port": 3306}])
    m.pod["containers"] = [{"name": "sql"}, {**m.container, "ports": [{"containerPort": 9104}]}]
    assert printed(findings(m.all)) == ["one of these ports, or declare it if they do listen on it"]
    m = Manifests()
    ports(m).append({"name": "web", "port": 80, "targetPort": "http"})
    assert printed(findings(m.all)) == ["leave one of the ports out: two lead to the same number"]
    m = Manifests()
    spec(m.service, ports=ports(m)[:1])
    other = m.copy_of(m.statefulset, "other", serviceName="other")
    m.copy_of(m.service, "other", selector={"app": "web", "tier": "other"})
    other["spec"]["template"]["metadata"]["labels"] = {"app": "web", "tier": "other"}
    other["spec"]["template"]["spec"]["containers"][0]["ports"][0]["containerPort"] = 8081
    said = {str(one.about): one for one in findings(m.all) if one.code == "PD303"}
    shared = said["Service prod/web-headless"]
    assert shared.seen.endswith("DNS gives 8080, 8081")
    assert "one for `port`, targetPort and all containers" in str(shared.change)


def test_ports_are_proposed_that_all_pods_have() -> None:
    m = spoiled("no ports")
    other = m.copy_of(m.statefulset, "other")
    m.container["ports"].append({"containerPort": 7000})
    other["spec"]["template"]["spec"]["containers"][0]["ports"] = [
        {"name": "http", "containerPort": 8080},
        {"containerPort": 7000},
    ]
    (change,) = (one.change for one in findings(m.all, notes=True) if one.code == "PD305")
    ports = [{"name": "tcp-7000", "port": 7000}, {"name": "http", "port": 8080}]
    assert change == {"spec": {"ports": ports}}


def test_a_probe_asks_the_port_that_the_containers_declare() -> None:
    """Applied together with the change of PD304, a probe of the wrong port would never be ready."""
    m = Manifests()
    m.service["spec"]["ports"] = [{"name": "http", "port": 80, "targetPort": 8080}]
    m.container["ports"] = [{"containerPort": 80}]
    m.container.pop("readinessProbe")
    found = {one.code: one.change for one in findings(m.all)}
    assert {"PD304", "PD402"} <= found.keys()
    assert "'readinessProbe': {'tcpSocket': {'port': 80}}" in str(found["PD402"])
    m.pod["containers"].insert(0, {"name": "proxy", "ports": [{"containerPort": 4143}]})
    m.service["spec"]["ports"] = [{"name": "http", "port": 80}]
    (asks,) = (str(one.change) for one in findings(m.all) if one.code == "PD402")
    assert "'name': 'web', 'readinessProbe': {'tcpSocket': {'port': 80}}" in asks
    m.service["spec"]["ports"] = [{"name": "http", "port": 80, "targetPort": 8080}]
    m.container["ports"].append({"containerPort": 81})
    (asks,) = (str(one.change) for one in findings(m.all) if one.code == "PD402")
    assert "'port': 'PORT'" in asks
