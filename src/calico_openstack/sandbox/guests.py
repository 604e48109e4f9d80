"""Boots and deletes guests as Nova does it: through Neutron's API, with a device of the name that Nova would choose.

A guest is a namespace. Its `eth0` is one end of a veth; the other end, in the host's namespace, is called and
addressed like Nova's tap, so that to Felix and the DHCP agent it is one. Addresses come from real DHCP clients
(udhcpc; dhclient -6) or from router advertisements, never from us.
"""

import contextlib
import json
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import msgspec

from calico_openstack.sandbox.api import Json, Neutron
from calico_openstack.sandbox.layout import FABRIC_ROUTER_V4, FABRIC_ROUTER_V6, Layout
from calico_openstack.sandbox.namespaces import delete, processes_in
from calico_openstack.sandbox.probes import Probe, Prober
from calico_openstack.sandbox.processes import end
from calico_openstack.sandbox.spec import Guest, Spec
from calico_openstack.sandbox.state import SandboxError, State, write_whole
from calico_openstack.sandbox.steps import Start

Cancelled = Callable[[], bool]


def never() -> bool:
    return False


class Timings(msgspec.Struct):
    """Seconds since `POST /ports` was sent; 0 means not yet, or not asked for."""

    bound: float = 0.0
    plugged: float = 0.0
    active: float = 0.0
    lease: float = 0.0
    address_v6: float = 0.0
    first_ping: float = 0.0


class Booted(msgspec.Struct):
    """A guest that was booted: what Neutron said about it and where it is."""

    name: str
    host: str
    network: str
    groups: tuple[str, ...]
    namespace: str
    port_id: str
    tap: str
    mac: str
    v4: str | None
    v6: str | None
    timings: Timings = msgspec.field(default_factory=Timings)
    uplink: str = "eth0"
    """The guest's end of the veth whose other end is the tap; not eth0 after a migration."""
    moves: int = 0

    def address(self, version: int) -> str:
        address = self.v4 if version == 4 else self.v6
        if address is None:
            raise SandboxError(f"guest {self.name} has no IPv{version} address; its network has no such subnet")
        return address


@dataclass(frozen=True, slots=True)
class Guests:
    """The guests of one sandbox. `neutron` speaks as an administrator, `service` as Nova does."""

    state: State
    neutron: Neutron
    service: Neutron

    @property
    def layout(self) -> Layout:
        return self.state.layout

    def all(self) -> list[Booted]:
        directory = self.layout.directory / "guests"
        files = sorted(directory.glob("*/guest.json")) if directory.is_dir() else []
        guests = [msgspec.json.decode(file.read_bytes(), type=Booted) for file in files]
        return sorted(guests, key=lambda guest: (len(guest.name), guest.name))

    def get(self, name: str) -> Booted:
        for guest in self.all():
            if guest.name == name:
                return guest
        known = ", ".join(guest.name for guest in self.all()) or "none yet"
        raise SandboxError(f"there is no guest {name!r}; there are: {known}")

    def boot(
        self, wanted: Guest, spec: Spec, limit: float = 60.0, cancelled: Cancelled = never, ping: bool = False
    ) -> Booted:
        """Boots a guest and waits for ACTIVE and for its addresses, each at most `limit` seconds.

        With `ping` also for an answer of the fabric router, as soon as there is a first address.
        """
        clock = time.monotonic
        network = self.neutron.named("networks", wanted.network)
        groups = [self.neutron_group(name) for name in wanted.groups]
        fields: Json = {"network_id": network["id"], "name": wanted.name}
        if groups:
            fields["security_groups"] = groups
        started = clock()
        port = self.neutron.create("ports", **fields)
        try:
            port = self.neutron.update(
                "ports",
                port["id"],
                **{"binding:host_id": wanted.host, "device_id": str(uuid4()), "device_owner": "compute:nova"},
            )
            guest = self._record(wanted, port)
            guest.timings.bound = clock() - started
            if port["binding:vif_type"] != "tap":
                raise SandboxError(
                    f"Neutron could not bind the port to {wanted.host} (vif_type {port['binding:vif_type']}); "
                    f"see {self.layout.log('ctl/neutron-api')}"
                )
            self._plug(guest, port, int(network["mtu"]))
            guest.timings.plugged = clock() - started
            wait = Waiting(self.layout, wanted.host, limit, cancelled)
            wait.until(lambda: self._status(guest) == "ACTIVE", f"port of {guest.name} is ACTIVE")
            guest.timings.active = clock() - started
            if guest.v4 is not None:
                self._ask_v4(guest)
                self._until_address(guest, guest.v4, wait)
                guest.timings.lease = clock() - started
                if ping:
                    self._ping(guest, FABRIC_ROUTER_V4, limit)
                    guest.timings.first_ping = clock() - started
            if guest.v6 is not None:
                self._ask_v6(guest, spec, wait)
                self._until_address(guest, guest.v6, wait)
                guest.timings.address_v6 = clock() - started
                if ping and guest.v4 is None:
                    self._ping(guest, FABRIC_ROUTER_V6, limit)
                    guest.timings.first_ping = clock() - started
        except BaseException:
            with contextlib.suppress(Exception):
                self._clear(wanted.name, port["id"])
            raise
        self.save(guest)
        return guest

    def delete(self, name: str) -> None:
        """Deletes a guest: first the tap goes, then the port, as with Nova."""
        guest = self.get(name)
        self._clear(guest.name, guest.port_id)

    def neutron_group(self, name: str) -> str:
        """The id of a security group of the admin project."""
        groups = self.neutron.list("security-groups", name=name)
        if name == "default" and len(groups) > 1:  # every project has one
            own = {network["project_id"] for network in self.neutron.list("networks")}
            groups = [group for group in groups if group["project_id"] in own]
        if len(groups) != 1:
            raise SandboxError(f"{len(groups)} security groups are called {name!r}; exactly one was expected")
        return str(groups[0]["id"])

    def addresses(self, guest: Booted) -> set[str]:
        """The addresses that the guest's eth0 has and may use."""
        return usable_addresses(guest.namespace)

    def _ping(self, guest: Booted, target: str, limit: float) -> None:
        with Prober() as prober:
            if not prober.check_one(Probe(guest.namespace, target), limit):
                raise SandboxError(f"{target} did not answer guest {guest.name} within {limit:g} s")

    def _status(self, guest: Booted) -> str:
        return str(self.neutron.show("ports", guest.port_id, "status")["status"])

    def _record(self, wanted: Guest, port: Json) -> Booted:
        by_version: dict[int, str] = {}
        for fixed in port["fixed_ips"]:
            by_version.setdefault(6 if ":" in fixed["ip_address"] else 4, fixed["ip_address"])
        guest = Booted(
            name=wanted.name,
            host=wanted.host,
            network=wanted.network,
            groups=wanted.groups or ("default",),
            namespace=self.layout.guest_namespace(wanted.name),
            port_id=port["id"],
            tap="tap" + port["id"][:11],
            mac=port["mac_address"],
            v4=by_version.get(4),
            v6=by_version.get(6),
        )
        self.save(guest)
        return guest

    def save(self, guest: Booted) -> None:
        path = self.layout.guest_directory(guest.name) / "guest.json"
        write_whole(path, json.dumps(msgspec.to_builtins(guest), indent=1))

    def _plug(self, guest: Booted, port: Json, mtu: int) -> None:
        host = self.layout.namespace(guest.host)
        details: dict[str, Any] = port.get("binding:vif_details") or {}
        tap_mac = details.get("mac_address")
        commands = [
            f"ip netns add {guest.namespace}",
            f"ip -n {guest.namespace} link set lo up",
            f"ip link add {guest.tap} netns {host} mtu {mtu}"
            f" type veth peer name eth0 netns {guest.namespace} mtu {mtu}",
            f"ip -n {guest.namespace} link set eth0 address {guest.mac}",
            *([f"ip -n {host} link set {guest.tap} address {tap_mac}"] if tap_mac else []),
            f"ip -n {host} link set {guest.tap} up",
            # Only now: a guest's first router solicitation should find a host that is listening.
            f"ip -n {guest.namespace} link set eth0 up",
        ]
        for command in commands:
            run(*command.split())

    def _ask_v4(self, guest: Booted) -> None:
        wishes = ("-t", "5", "-T", "1", "-A", "1", "-O", "mtu", "-O", "staticroutes", "-x", f"hostname:{guest.name}")
        self._client(guest, "udhcpc", ("udhcpc", "-f", "-i", "eth0", "-s", str(self.layout.guest_script), *wishes))

    def _ask_v6(self, guest: Booted, spec: Spec, wait: "Waiting") -> None:
        """DHCPv6 if the subnet is stateful; otherwise the kernel makes the address from router advertisements."""
        modes = {subnet.ipv6_mode for subnet in spec.network(guest.network).subnets if subnet.version == 6}
        if "dhcpv6-stateful" not in modes:
            return
        # dhclient gives up when the link-local address is still being checked for duplicates.
        wait.until(
            lambda: any(address.startswith("fe80:") for address in self.addresses(guest)),
            f"{guest.name} has a link-local address",
        )
        leases = self.layout.guest_directory(guest.name)
        files = ("-lf", f"{leases}/dhclient6.leases", "-pf", f"{leases}/dhclient6.pid", "-cf", "/dev/null")
        # dhclient gives its script an environment of its own; -e adds to it.
        script = ("-sf", str(self.layout.guest_script), "-e", f"LEASES={leases}")
        self._client(guest, "dhclient6", (str(self.layout.dhclient), "-6", "-d", "-D", "LL", *script, *files, "eth0"))

    def _client(self, guest: Booted, program: str, argv: tuple[str, ...]) -> None:
        name = f"g-{guest.name}/{program}"
        environment = (("LEASES", str(self.layout.guest_directory(guest.name))),)
        self.state.start(Start(name, argv, self.layout.log(name), guest.namespace, environment))

    def _clear(self, name: str, port_id: str) -> None:
        namespace = self.layout.guest_namespace(name)
        end(processes_in(namespace), limit=1.0)
        delete(namespace)
        self.neutron.delete("ports", port_id)
        for program in ("udhcpc", "dhclient6"):
            self.state.forget(f"g-{name}/{program}")
            self.layout.log(f"g-{name}/{program}").unlink(missing_ok=True)
        shutil.rmtree(self.layout.guest_directory(name), ignore_errors=True)

    def _until_address(self, guest: Booted, address: str, wait: "Waiting") -> None:
        wait.until(lambda: address in self.addresses(guest), f"guest {guest.name} has {address}")


@dataclass(frozen=True, slots=True)
class Waiting:
    """How long one boot waits for each thing, and where to look when it was in vain."""

    layout: Layout
    host: str
    limit: float
    cancelled: Cancelled

    def until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + self.limit
        while not condition():
            if self.cancelled():
                raise SandboxError("interrupted")
            if time.monotonic() > deadline:
                logs = " and ".join(str(self.layout.log(f"{self.host}/{name}")) for name in ("felix", "dhcp"))
                raise SandboxError(f"waited {self.limit:g} s until {what}, in vain; look into {logs}")
            time.sleep(0.05)


def usable_addresses(namespace: str, device: str = "eth0") -> set[str]:
    """Addresses of a device, without those that are still checked for duplicates."""
    output = run("ip", "-n", namespace, "-json", "addr", "show", "dev", device)
    return {
        entry["local"]
        for link in json.loads(output)
        for entry in link.get("addr_info", [])
        if not entry.get("tentative") and not entry.get("dadfailed")
    }


def run(*argv: str) -> str:
    """The output of a command. Raises SandboxError with what it complained of."""
    result = subprocess.run(argv, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise SandboxError(f"{' '.join(argv)}: {result.stderr.strip()}")
    return result.stdout
