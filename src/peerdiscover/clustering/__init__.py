"""Forming exactly one cluster of pods that all start at once.

    contact = ContactPoint("web-0", founders("web", 3))     # answered by this pod's own server
    with Discovery("web-headless.prod:8080") as web:
        cluster = bootstrap(web, contact, form=start_alone, join=join_at)

The protocol is the table of rules in `_decision`; what it guarantees, and what not, is in docs/clustering.md.
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
