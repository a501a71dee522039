"""What to say when an API server refuses: what is wrong, and what to apply. Pure.

Invariants:

* We need `list` and `watch` on EndpointSlices in the namespace of the Service, and no more.
* The first line of a refusal is a whole sentence that says what is wrong: a log shows no more of it.
* A refusal ends with what to apply, ready for `kubectl apply -f -`. Readers paste that, so names are quoted:
  nothing in it can be other YAML than it looks like.
* A request without credentials is answered with that fact and no Role, which would be one for everyone.
"""

from __future__ import annotations

import json
import re

from peerdiscover._text import printable
from peerdiscover.errors import ConfigurationError

from ._commands import Target

_REFUSED = re.compile(r'User "((?:[^"\\]|\\.)*)" cannot ')
_ROLE = "read-endpointslices"


def refusal(status: int, message: str, service: str, target: Target) -> str | ConfigurationError:
    """What an error says of a response that is no success; `message` is the server's own."""
    why = f"{status}: {message}"
    if status == 401:
        return ConfigurationError(f"the credentials are not accepted ({target.credentials}): {why}")
    if status == 403:
        who = who_was_refused(message)
        return ConfigurationError(forbidden_text(target.namespace, service, who, target.pod_namespace))
    if status == 404:
        return ConfigurationError(f"discovery.k8s.io/v1 is not served there ({target.credentials}): {why}")
    return why


def who_was_refused(message: str) -> str | None:
    """The user in the message of a 403: `system:serviceaccount:moon:web`. None if it names none."""
    found = _REFUSED.search(message)
    if found is None:
        return None
    try:
        # Go quotes as JSON does, for what names may hold.
        return printable(str(json.loads(f'"{found[1]}"')), 500)
    except ValueError:
        return None


def forbidden_text(namespace: str, service: str, who: str | None, pod_namespace: str | None = None) -> str:
    """What an error says if the EndpointSlices of `namespace` may not be read.

    It ends with the Role and the RoleBinding to apply. `who` is the user in the API's message (see
    `who_was_refused`). `pod_namespace`, this pod's, is used if `who` is not known.
    """
    what = f"EndpointSlices of {service} in the namespace {namespace}"
    if who == "system:anonymous":
        # A Role for everyone on the network would be the wrong advice.
        return f"{what} may not be read: the request had no credentials"
    parts = (who or "").split(":")
    if len(parts) == 4 and parts[:2] == ["system", "serviceaccount"]:
        home, name = parts[2:]
    elif who is None:
        home, name = pod_namespace or namespace, "default"
    else:
        home, name = None, who
    elsewhere = (
        f" That account belongs to the namespace {home}; a Role counts in its own namespace alone, "
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
    # The binding is named after the account it binds: a second one must not take the first one's rights.
    binding = "-".join([_ROLE, *([home] if home not in (None, namespace) else []), name])
    binding = re.sub("[/%]", "-", binding)  # no name may have those two
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
