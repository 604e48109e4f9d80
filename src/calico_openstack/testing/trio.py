"""A compute host with three guests, from documents to real connections, without etcd and without waiting.

Documents go through intake, graph, dataplane and kernel exactly as in the agent, but in one call: what was put is in
force when `put` returns. One of these serves a whole file of tests; `fresh` takes back what a test has put.

    w0 (10.65.0.1, 2001:db8:a41::1)   w1 (.2, ::2)   w2 (.3, ::3); TCP and UDP ports PORTS listen on each

The guests belong to the profile `open`, which allows all, and have the label `w` with their name.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import permutations, product
from typing import Any

from calico_openstack.etcd.values import Event
from calico_openstack.felix.calc.graph import Graph
from calico_openstack.felix.dataplane import Dataplane
from calico_openstack.felix.dataplane_settings import dataplane_settings
from calico_openstack.felix.datastore import Datastore
from calico_openstack.felix.settings import FelixSettings
from calico_openstack.model.endpoint import EndpointKey
from calico_openstack.model.keys import ResourceKey
from calico_openstack.model.names import endpoint_name, tap_name
from calico_openstack.policy.state import Packet
from calico_openstack.testing.compute_host import Guest, eventually, ip, own_namespace
from calico_openstack.testing.connections import TCP, UDP, Listeners, Try
from calico_openstack.testing.connectivity import EPHEMERAL, PROTOCOL_NUMBERS, may_reach
from calico_openstack.testing.oracle import state_of
from calico_openstack.testing.written import Document, document

HOST = "compute-01"
PORTS = (80, 81, 8080)
TAP_MAC = "ee:ee:ee:ee:ee:ee"
ALLOW, DENY = {"action": "Allow"}, {"action": "Deny"}
OPEN = {"ingress": [ALLOW], "egress": [ALLOW]}


@dataclass(frozen=True)
class Workload:
    number: int
    guest: Guest

    @property
    def name(self) -> str:
        return f"w{self.number}"

    @property
    def addresses(self) -> tuple[str, str]:
        return f"10.65.0.{self.number + 1}", f"2001:db8:a41::{self.number + 1}"

    @property
    def key(self) -> EndpointKey:
        port = f"{self.number + 1:08x}-1111-4000-8000-000000000000"
        return EndpointKey("openstack", HOST, "openstack", self.name, port)

    def address(self, version: int) -> str:
        return self.addresses[version == 6]

    def document(self, labels: dict[str, str] | None = None, **spec: Any) -> Document:
        """Its WorkloadEndpoint; `spec` adds to it or replaces parts."""
        own = {"projectcalico.org/namespace": "openstack", "projectcalico.org/orchestrator": "openstack"}
        body = {
            "orchestrator": "openstack",
            "workload": self.key.workload,
            "node": HOST,
            "endpoint": self.key.endpoint,
            "interfaceName": self.guest.tap,
            "mac": self.guest.mac,
            "ipNetworks": [f"{self.addresses[0]}/32", f"{self.addresses[1]}/128"],
            "profiles": ["open"],
            **spec,
        }
        return document(
            "WorkloadEndpoint",
            endpoint_name(self.key),
            "openstack",
            body,
            labels={**own, "w": self.name, **(labels or {})},
        )


class Trio:
    """See the module. `settings` are Felix's own, by their Python names."""

    def __init__(self, stack: ExitStack, **settings: Any) -> None:
        self._settings = FelixSettings(HOST, **settings)
        self.stored: dict[str, bytes] = {}
        self.store = Datastore(Graph(HOST, allow_spoofing=self._settings.workload_source_spoofing))
        self.dataplane = Dataplane(dataplane_settings(self._settings, "1"))
        stack.callback(self.dataplane.close)
        self.listeners = Listeners()
        stack.callback(self.listeners.close)
        self.workloads = []
        for number in range(3):
            tap, mac = tap_name(f"{number + 1:08x}-1111"), f"fa:16:3e:00:00:0{number + 1}"
            guest = Guest(tap, mac)
            stack.callback(guest.close)
            self.workloads.append(Workload(number, guest))
        for one in self.workloads:
            _wire(one)
            self.listeners.open(one.guest.name, *PORTS)
        self.fresh()

    def fresh(self) -> None:
        """As at the start: three open guests and no policy."""
        kept = dict([document("Profile", "open", "", OPEN), *(one.document() for one in self.workloads)])
        gone = [path for path in self.stored if path not in kept]
        self._tell({**dict.fromkeys(gone), **kept})
        eventually(self._all_up, "guests up")

    def _all_up(self) -> bool:
        self.step()
        return len(self.dataplane.taps.programmed) == len(self.workloads)

    def put(self, *documents: Document, refused: bool = False) -> None:
        """Store documents, all in one batch; in force when this returns. `refused`: some cannot be used yet."""
        self._tell(dict(documents), refused)

    def delete(self, *documents: Document, refused: bool = False) -> None:
        """`refused`: others cannot be used without them."""
        self._tell({path: None for path, _ in documents}, refused)

    def use(self, **settings: Any) -> None:
        """Other settings from now on."""
        self._settings = replace(self._settings, **settings)
        self.store.graph.set_allow_spoofing(self._settings.workload_source_spoofing)
        self.dataplane.use(dataplane_settings(self._settings, "1"))
        self.step()

    def own(self, *addresses: str) -> None:
        """Addresses of the host itself."""
        for address in addresses:
            ip("address", "replace", address, "dev", "lo")

    def listen_on_host(self, *ports: int) -> None:
        self.listeners.open("", *ports)

    def step(self) -> None:
        """Until nothing is due at once; AssertionError for what could not be programmed."""
        for _ in range(100):
            report = self.dataplane.step(self.store.news(), time.monotonic())
            assert not report.failures, report.failures
            if report.wake_at is None or report.wake_at > time.monotonic():
                return

    def _tell(self, documents: dict[str, Any], refused: bool = False) -> None:
        self.stored.update(documents)
        self.stored = {path: value for path, value in self.stored.items() if value is not None}
        self.store.take(Event(path, value, 1) for path, value in documents.items())
        self.step()
        assert refused or not self.store.complaints, self.store.complaints

    def tries(
        self, ports: Iterable[int] = (80,), protocols: Iterable[str] = (TCP, UDP), versions: Iterable[int] = (4, 6)
    ) -> dict[tuple[str, str, int, str, int], Try]:
        """By (sender, receiver, port, protocol, version): every pair of guests with all of these."""
        made = {}
        for (one, two), port, protocol, version in product(permutations(self.workloads, 2), ports, protocols, versions):
            made[one.name, two.name, port, protocol, version] = Try(
                one.guest.name, one.address(version), two.address(version), port, protocol
            )
        return made

    def expect_verdicts(self, **which: Any) -> float:
        """Exactly those flows pass that the naive reference allows, by the stored documents; the share of them."""
        state = state_of(self.stored)
        ends = {one.name: state.endpoints[one.key] for one in self.workloads}
        own = {(one.name, net.version): net for one in self.workloads for net in ends[one.name].addresses}
        answers = []

        def allowed(sender: str, receiver: str, port: int, protocol: str, version: int) -> bool:
            packet = Packet(own[sender, version], own[receiver, version], PROTOCOL_NUMBERS[protocol], EPHEMERAL, port)
            answers.append(may_reach(state, ends[sender], ends[receiver], packet).reaches)
            return answers[-1]

        self.expect_where(allowed, **which)
        return sum(answers) / len(answers)

    def expect(self, pairs: Iterable[str], **which: Any) -> None:
        """Exactly these pairs ("w0>w1") can talk, by every port, protocol and version in `which` (see `tries`)."""
        wanted = {tuple(pair.split(">")) for pair in pairs}
        self.expect_where(lambda sender, receiver, *_: (sender, receiver) in wanted, **which)

    def expect_where(self, allowed: Any, **which: Any) -> None:
        """Exactly those flows pass for which allowed(sender, receiver, port, protocol, version) is true."""
        tries = self.tries(**which)
        should = {name for name in tries if allowed(*name)}
        names = {one: name for name, one in tries.items()}
        passed = {names[one] for one in self.listeners.passes(names, [tries[name] for name in should])}
        missing, surprising = sorted(should - passed), sorted(passed - should)
        assert not missing, f"should pass and do not: {missing}"
        assert not surprising, f"pass and should not: {surprising}"


def _wire(one: Workload) -> None:
    """A guest that knows its router: no ARP or neighbour discovery comes between a packet and its verdict."""
    ip("link", "set", one.guest.tap, "address", TAP_MAC)
    four, six = one.addresses
    for words in (
        f"address add {four}/32 dev eth0",
        f"-6 address add {six}/128 dev eth0 nodad",
        "route add 169.254.1.1 dev eth0",
        "route add default via 169.254.1.1 dev eth0",
        f"neighbour add 169.254.1.1 lladdr {TAP_MAC} dev eth0 nud permanent",
        "-6 route add default via fe80::1 dev eth0",
        f"neighbour add fe80::1 lladdr {TAP_MAC} dev eth0 nud permanent",
    ):
        ip("-n", one.guest.name, *words.split())
    eventually(lambda: "state UP" in ip("link", "show", one.guest.tap), f"{one.guest.tap} carries")


@contextmanager
def trio(**settings: Any) -> Iterator[Trio]:
    """In a network namespace of its own, in which the caller sits meanwhile. Needs root."""
    with own_namespace(), ExitStack() as stack:
        yield Trio(stack, **settings)


def policy(
    name: str,
    selector: str,
    ingress: list[dict[str, Any]] | None = None,
    egress: list[dict[str, Any]] | None = None,
    kind: str = "GlobalNetworkPolicy",
    metadata: dict[str, Any] | None = None,
    **spec: Any,
) -> Document:
    """A policy; without `types`, those of the rules that are given."""
    types = [word for word, rules in (("Ingress", ingress), ("Egress", egress)) if rules is not None]
    body: dict[str, Any] = {"selector": selector, "types": types, **spec}
    body.update({word: rules for word, rules in (("ingress", ingress), ("egress", egress)) if rules is not None})
    namespace = "" if "Global" in kind else "openstack"
    return document(kind, name, namespace, body, **(metadata or {}))


def path_of(kind: str, name: str, namespace: str = "") -> str:
    return ResourceKey(kind, name, namespace).path


def decoded(one: Document) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(one[1])
    return content
