"""Rights: what an API server lets us read, and what to say where it does not. Pure.

Rules of this room:

* What we need is `list` and `watch` on EndpointSlices in the namespace of the service, and no more.
* The first line of a refusal is a whole sentence that says what is wrong: a log shows no more of it.
* A refusal ends with what to apply, ready for `kubectl apply -f -`. A reader pastes that, so it is made
  of nothing that could be other YAML than it looks like: names are quoted.
* Whoever came without credentials is told so, and gets no Role: that would be one for everybody.
"""

from __future__ import annotations

import json
import re

__all__ = ["forbidden_text", "who_was_refused"]

_REFUSED = re.compile(r'User "((?:[^"\\]|\\.)*)" cannot ')
_ROLE = "read-endpointslices"


def who_was_refused(message: str) -> str | None:
    """The user in the message of a 403: `system:serviceaccount:moon:web`. None where it tells none."""
    found = _REFUSED.search(message)
    if found is None:
        return None
    try:
        return str(json.loads(f'"{found[1]}"'))  # Go quotes as JSON does, for what names may hold
    except ValueError:
        return None


def forbidden_text(namespace: str, service: str, who: str | None, own_namespace: str | None = None) -> str:
    """What an error says where the EndpointSlices of `namespace` may not be read.

    It ends with the Role and the RoleBinding to apply. `who` is the user of the API's message (see
    `who_was_refused`). `own_namespace` is the pod's, said where `who` is not known.
    """
    what = f"EndpointSlices of {service} in the namespace {namespace}"
    if who == "system:anonymous":
        # A Role for everybody on the network would be the wrong advice.
        return f"{what} may not be read: the API server was shown no credentials"
    parts = (who or "").split(":")
    if len(parts) == 4 and parts[:2] == ["system", "serviceaccount"]:
        home, name = parts[2:]
    elif who is None:
        home, name = own_namespace or namespace, "default"
    else:
        home, name = None, who
    elsewhere = (
        f" That account is one of the namespace {home}; a Role counts in its own namespace alone, "
        f"so this one is for {namespace}."
        if home is not None and home != namespace
        else ""
    )
    unknown = " (put in the name of the pod's ServiceAccount)" if who is None else ""
    return (
        f"{what} may not be read by {who or 'this ServiceAccount'}.{elsewhere}\n"
        f"To allow it, `kubectl apply -f -`{unknown}:\n{_role(namespace, home, name)}"
    )


def _role(namespace: str, home: str | None, name: str) -> str:
    # The binding is called after whom it binds: a second one must not take the first one's rights.
    binding = "-".join([_ROLE, *([home] if home not in (None, namespace) else []), name])
    binding = re.sub("[/%]", "-", binding)  # those two no name may have
    subject = (
        f"kind: User, apiGroup: rbac.authorization.k8s.io, name: {json.dumps(name)}"
        if home is None
        else f"kind: ServiceAccount, name: {json.dumps(name)}, namespace: {json.dumps(home)}"
    )
    return f"""apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {{name: {_ROLE}, namespace: {json.dumps(namespace)}}}
rules:
  - {{apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [list, watch]}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{name: {json.dumps(binding)}, namespace: {json.dumps(namespace)}}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: {_ROLE}}}
subjects:
  - {{{subject}}}
"""
