"""Forming exactly one cluster of pods that all start at once.

    contact = ContactPoint("web-0", founders("web", 3))     # answered by this pod's own server
    with Discovery("web-headless.prod:8080") as web:
        cluster = bootstrap(web, contact, form=start_alone, join=join_at)

Invariants:

* `_decision` has the protocol: a pure table of rules, each with what it prevents.
* `_rounds` makes rounds of it, one call at a time; `_bootstrap` makes the calls, in threads and in tasks.
* `_contact_point` is what a pod answers when others ask, `_probes` how they do over HTTP.

What is guaranteed, and what is not, is in docs/clustering.md.
"""

from ._bootstrap import abootstrap, bootstrap
from ._contact_point import ContactPoint, founders
from ._decision import Form, Join, Standing, Wait, decide
from ._probes import ahttp_probe, http_probe
from ._rounds import NotFormedError

__all__ = [
    "ContactPoint",
    "Form",
    "Join",
    "NotFormedError",
    "Standing",
    "Wait",
    "abootstrap",
    "ahttp_probe",
    "bootstrap",
    "decide",
    "founders",
    "http_probe",
]
