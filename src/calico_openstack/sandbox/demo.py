"""The demo: builds a cloud, lets packets, policy and routes speak, and says in one table what was seen.

Every line of the closing table is something that was measured just now, with what was expected beside it. The cloud is
taken down afterwards, also after Ctrl-C or a failure, unless it is to be kept.
"""

import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table

from calico_openstack.sandbox.client import next_commands
from calico_openstack.sandbox.guests import Booted
from calico_openstack.sandbox.plan.programs import program
from calico_openstack.sandbox.probes import Probe, Prober
from calico_openstack.sandbox.progress import Shown
from calico_openstack.sandbox.report import guest_table, memory, topology
from calico_openstack.sandbox.sandbox import Sandbox
from calico_openstack.sandbox.spec import Mode, Rule, SecurityGroup, Spec, spread
from calico_openstack.sandbox.state import SandboxError

PORT = 80
GROUP = "web"
ANYWHERE: tuple[tuple[str, str], ...] = (("IPv4", "0.0.0.0/0"), ("IPv6", "::/0"))


@dataclass(frozen=True, slots=True)
class Check:
    what: str
    expected: str
    seen: str
    good: bool


@dataclass(slots=True)
class Demo:
    """One showing on a sandbox that is up."""

    sandbox: Sandbox
    console: Console
    prober: Prober
    checks: list[Check] = field(default_factory=list)

    def show(self) -> bool:
        """Goes through all parts; whether everything was as expected."""
        guests = self.sandbox.guests
        for guest in guests:
            self.prober.listen(guest.namespace, "tcp", PORT)
        self._part("guests' addresses", lambda: self._addresses(guests))
        self._part("ping between all guests", lambda: self._pings(guests))
        self._part(f"TCP port {PORT} and a security group rule", lambda: self._rule(guests))
        self._part("ports and agents in Neutron", self._neutron)
        self._part("routes learnt by BGP", lambda: self._routes(guests))
        return all(check.good for check in self.checks)

    def _part(self, title: str, work: Callable[[], None]) -> None:
        started = time.monotonic()
        with self.console.status(f"{title} ..."):
            work()
        self.console.print(f"  {title:<44} {time.monotonic() - started:6.1f} s", highlight=False)

    def _check(self, what: str, expected: str, seen: str, good: bool) -> None:
        self.checks.append(Check(what, expected, seen, good))

    def _addresses(self, guests: list[Booted]) -> None:
        for version, how in ((4, "DHCP"), (6, "DHCPv6")):
            having = [guest for guest in guests if guest.address(version) in self.sandbox.cloud.guests.addresses(guest)]
            self._check(
                f"guests with their IPv{version} address from {how}",
                f"{len(guests)} of {len(guests)}",
                f"{len(having)} of {len(guests)}",
                having == guests,
            )

    def _pings(self, guests: list[Booted]) -> None:
        for version in (4, 6):
            wanted = {
                Probe(one.namespace, other.address(version)): True
                for one in guests
                for other in guests
                if one is not other
            }
            started = time.monotonic()
            seen = sum(self.prober.until(wanted, limit=15).values())
            took = (time.monotonic() - started) * 1000
            self._check(
                f"ping IPv{version}, every guest to every other",
                f"{len(wanted)} of {len(wanted)}",
                f"{seen} of {len(wanted)} (in {took:.0f} ms)",
                seen == len(wanted),
            )
        fabric = self.sandbox.namespace("fabric")
        outside = {Probe(fabric, guest.address(version)): True for guest in guests for version in (4, 6)}
        seen = sum(self.prober.until(outside, limit=15).values())
        self._check(
            "ping from the fabric router to every guest",
            f"{len(outside)} of {len(outside)}",
            f"{seen} of {len(outside)}",
            seen == len(outside),
        )

    def _rule(self, guests: list[Booted]) -> None:
        here, there = guests[0], next(guest for guest in guests if guest.host != guests[0].host or guest is guests[-1])
        probes = [Probe(here.namespace, there.address(version), "tcp", PORT) for version in (4, 6)]
        name = f"TCP port {PORT}, {here.name} on {here.host} to {there.name} on {there.host}"
        self._expect(f"{name}: no rule", probes, False)
        cloud = self.sandbox.cloud
        group = cloud.guests.neutron_group(GROUP)
        rules = [
            cloud.add_rule(group, Rule("ingress", ethertype, "tcp", (PORT, PORT), remote_cidr=cidr))  # type: ignore[arg-type]
            for ethertype, cidr in ANYWHERE
        ]
        self._expect(f"{name}: rule added by API", probes, True)
        for rule in rules:
            cloud.neutron.delete("security-group-rules", rule)
        self._expect(f"{name}: rule removed by API", probes, False)

    def _expect(self, what: str, probes: list[Probe], opened: bool) -> None:
        word = {True: "open", False: "closed"}
        started = time.monotonic()
        outcomes = self.prober.until(dict.fromkeys(probes, opened), limit=15, wait=0.5)
        took = time.monotonic() - started
        seen = ", ".join(f"v{6 if ':' in probe.target else 4} {word[outcomes[probe]]}" for probe in probes)
        self._check(what, word[opened], f"{seen} (after {took:.1f} s)", set(outcomes.values()) == {opened})

    def _neutron(self) -> None:
        ports = [
            self.sandbox.cloud.neutron.show("ports", guest.port_id, "status")["status"] for guest in self.sandbox.guests
        ]
        active = ports.count("ACTIVE")
        self._check("ports ACTIVE", f"{len(ports)} of {len(ports)}", f"{active} of {len(ports)}", active == len(ports))
        agents = self.sandbox.cloud.agents()
        alive = sum(1 for agent in agents if agent["alive"])
        self._check(
            "agents alive",
            f"{len(agents)} of {len(agents)}",
            f"{alive} of {len(agents)}",
            alive == len(agents) >= self.sandbox.spec.hosts,
        )

    def _routes(self, guests: list[Booted]) -> None:
        for version in (4, 6):
            here = guests[0]
            remote = next((guest for guest in guests if guest.host != here.host), None)
            if remote is None:
                continue
            route = route_on(self.sandbox.namespace(here.host), remote.address(version))
            self._check(
                f"{here.host}'s IPv{version} route to {remote.name} on {remote.host}",
                "host route, proto bird",
                route or "none",
                "proto bird" in route,
            )

    def table(self) -> Table:
        table = Table(title="What was seen", title_justify="left", box=None, header_style="bold", pad_edge=False)
        for column in ("", "what", "expected", "seen"):
            table.add_column(column, overflow="fold")
        for check in self.checks:
            table.add_row("[green]✓[/]" if check.good else "[red]✗[/]", check.what, check.expected, check.seen)
        return table


def route_on(namespace: str, address: str) -> str:
    """The host route to an address as `ip route` prints it, up to the protocol; or an empty text."""
    version, length = ("-6", 128) if ":" in address else ("-4", 32)
    argv = ["ip", version, "-n", namespace, "route", "show", f"{address}/{length}"]
    words = subprocess.run(argv, capture_output=True, text=True, check=False).stdout.split()
    end = words.index("proto") + 2 if "proto" in words else len(words)
    return " ".join(words[:end])


def demo_spec(name: str, hosts: int, mode: Mode) -> Spec:
    """Two guests per host, all in one group that lets ICMP in and nothing else."""
    pings = tuple(
        Rule("ingress", ethertype, protocol, remote_cidr=cidr)  # type: ignore[arg-type]
        for (ethertype, cidr), protocol in zip(ANYWHERE, ("icmp", "ipv6-icmp"), strict=True)
    )
    return Spec(
        name=name,
        hosts=hosts,
        mode=mode,
        groups=(SecurityGroup(GROUP, pings),),
        guests=spread(2 * hosts, hosts, groups=(GROUP,)),
    )


def run(console: Console, name: str, hosts: int, mode: Mode, keep: bool) -> bool:
    """The whole demo. Returns whether everything was as it should be.

    Raises SandboxError when the cloud would not come up.
    """
    sandbox = Sandbox(demo_spec(name, hosts, mode))
    began = time.monotonic()
    if sandbox.state.ready:
        with console.status("taking down what an earlier demo kept ..."):
            sandbox.down()
    console.print("[bold]Building a cloud[/] (Ctrl-C takes everything down again)")
    with Shown(console) as progress:
        for item in sandbox.up(progress):
            console.print(f"  removed left-over {item}", style="dim")
    up = time.monotonic() - began
    kept = ""
    try:
        console.print("\n[bold]Looking at it[/]")
        with Prober() as prober:
            demo = Demo(sandbox, console, prober)
            good = demo.show()
        _print_findings(console, demo, up)
    except BaseException:
        sandbox.down()
        raise
    if keep:
        console.print(f"\nThe cloud stays up. {next_commands(name, sandbox.guests[0].name)}")
        return good
    with console.status("taking everything down ..."):
        kept = sandbox.down(keep_logs=not good)
    console.print(f"\nEverything is taken down again. {time.monotonic() - began:.0f} s in all.")
    if kept:
        console.print(f"The logs are kept in {kept}")
    console.print("Run ./demo --keep to have the cloud stay up; calico-openstack sandbox --help lists what it can do.")
    return good


def _print_findings(console: Console, demo: Demo, up: float) -> None:
    sandbox = demo.sandbox
    console.print()
    console.print(topology(sandbox), highlight=False)
    console.print(guest_table(sandbox))
    console.print("\n[bold]openstack network agent list[/]")
    try:
        console.print(
            sandbox.run("ctl", program("openstack"), "network", "agent", "list").rstrip(),
            highlight=False,
            soft_wrap=True,
        )
    except SandboxError as error:
        demo.checks.append(Check("openstack network agent list", "a table", str(error), False))
    console.print()
    console.print(demo.table())
    sums = memory(sandbox).values()
    processes, resident, proportional = (sum(column) for column in zip(*sums, strict=True))
    console.print(
        f"\nUp in {up:.1f} s. {processes} processes, {proportional >> 20} MiB memory (PSS; RSS {resident >> 20} MiB).",
        highlight=False,
    )
