"""Running the checks: what was found, what could not be looked at, and what passed. Pure.

Invariants:

* A check that needs a kind that may not be read is not run, and stands under "not checked".
* No code is both found and not checked, and none passed that is either.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from ._codes import Finding, NotChecked
from ._policies import CHECKS_OF_POLICIES
from ._ports import CHECKS_OF_PORTS
from ._rights import pd501
from ._services import CHECKS_OF_SERVICES
from ._workloads import CHECKS_OF_WORKLOADS
from ._world import CheckFunction, World

CHECKS_OF_MANIFESTS: tuple[CheckFunction, ...] = (
    *CHECKS_OF_SERVICES,
    *CHECKS_OF_PORTS,
    *CHECKS_OF_POLICIES,
    *CHECKS_OF_WORKLOADS,
    pd501,
)
_PODS = "Pod StatefulSet Deployment DaemonSet"
_PORTS = f"Service {_PODS}"
NEEDS = {
    "PD101": [f"NetworkPolicy {_PODS}"],
    "PD102": [_PODS],
    "PD105": ["EndpointSlice", "Service StatefulSet"],
    "PD106": ["Service"],
    "PD107": [f"NetworkPolicy {_PODS}"],
    "PD202": [f"NetworkPolicy {_PORTS}"],
    "PD205": ["Service StatefulSet"],
    "PD301": [_PORTS],
    "PD302": ["EndpointSlice", _PORTS],
    "PD303": [_PORTS],
    "PD304": [_PORTS],
    "PD305": [_PORTS],
    "PD306": ["Service"],
    "PD307": ["EndpointSlice"],
    "PD308": ["Service Job CronJob"],
    "PD401": ["Service StatefulSet"],
    "PD402": [_PORTS],
    "PD403": [_PORTS],
    "PD404": ["StatefulSet"],
    "PD501": [f"Role RoleBinding ServiceAccount {_PODS}"],
}
"""The kinds without which a check of manifests says nothing: one of these sets is enough."""
SAID_BY_DNS = {"PD105", "PD106"}
"""What DNS says as well as the API does."""


@dataclass
class Report:
    """What came out."""

    ignored: Collection[str] = ()
    notes: bool = True
    """Notes are shown, too."""
    findings: list[Finding] = field(default_factory=list)
    not_checked: list[NotChecked] = field(default_factory=list)
    checked: set[str] = field(default_factory=set)
    left_out: set[str] = field(default_factory=set)
    """Of which something was found and ignored."""

    def run(self, checks: Iterable[CheckFunction], world: World) -> list[Finding]:
        """Run these checks; what they found, but for what was found of the same object before."""
        found: list[Finding] = []
        known = {(one.code, str(one.about)) for one in self.findings}
        for check in checks:
            code = code_of(check)
            self.checked.add(code)
            for result in check(world):
                if isinstance(result, NotChecked):
                    self.not_checked.append(result)
                elif result.is_ignored or code in self.ignored:
                    self.left_out.add(code)
                elif (code, str(result.about)) not in known:
                    found.append(result)
        self.findings += found
        return found

    @property
    def found(self) -> set[str]:
        return {finding.code for finding in self.findings}

    @property
    def missing(self) -> list[NotChecked]:
        """What could not be looked at, each reason once, without what was found in another way."""
        by_reason: dict[str, set[str]] = {}
        for one in self.not_checked:
            why, ignored = (f"{one.about}: {one.why}", one.about.ignored) if one.about else (one.why, ())
            codes = set(one.codes) - self.found - {*self.ignored, *ignored}
            by_reason.setdefault(why, set()).update(codes)
        return [NotChecked(tuple(sorted(codes)), why) for why, codes in by_reason.items() if codes]

    @property
    def missing_codes(self) -> set[str]:
        return {code for one in self.missing for code in one.codes}

    @property
    def passed(self) -> list[str]:
        return sorted(self.checked - self.found - self.missing_codes - self.left_out - set(self.ignored))

    def count(self, level: str) -> int:
        return sum(finding.level == level for finding in self.findings)

    def sorted(self) -> list[Finding]:
        """What is shown: errors first, then by code and object."""
        order = ("error", "warning", "note") if self.notes else ("error", "warning")
        shown = [one for one in self.findings if one.level in order]
        return sorted(shown, key=lambda one: (order.index(one.level), one.code, str(one.about)))


def of_manifests(report: Report, world: World) -> list[Finding]:
    """Run all checks of objects that may be read."""
    unread, heard = world.objects.unread, world.heard
    checks: list[CheckFunction] = []
    for check in CHECKS_OF_MANIFESTS:
        code = code_of(check)
        if code == "PD404" and not heard.absolute:
            continue  # it needs a TTL
        lacks = min(([kind for kind in kinds.split() if kind in unread] for kinds in NEEDS[code]), key=len)
        if not lacks or (heard.answer.is_evidence and code in SAID_BY_DNS):
            checks.append(check)
        else:
            report.not_checked += [NotChecked((code,), unread[kind]) for kind in lacks]
    return report.run(checks, world)


def code_of(check: CheckFunction) -> str:
    """The code of a check, which is its name."""
    return check.__name__.upper()
