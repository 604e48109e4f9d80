"""Tables for people: guests and their timings, processes and memory, agents."""

from rich.console import Group, RenderableType
from rich.table import Table

from calico_openstack.sandbox.layout import FABRIC_ROUTER_V4, FABRIC_ROUTER_V6, fabric_v4, fabric_v6
from calico_openstack.sandbox.namespaces import existing, processes_in
from calico_openstack.sandbox.processes import proportional_memory
from calico_openstack.sandbox.sandbox import Sandbox

MIB = 1024 * 1024


def _plain_table(*columns: str, title: str | None = None) -> Table:
    table = Table(title=title, title_justify="left", box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _seconds(value: float) -> str:
    return f"{value:.2f} s" if value else "-"


def guest_table(sandbox: Sandbox, only: str | None = None) -> Table:
    """Guests with their addresses and times; a time that nobody measured has no column."""
    guests = [guest for guest in sandbox.guests if only in (None, guest.name)]
    times = {
        "POST→ACTIVE": [guest.timings.active for guest in guests],
        "→lease": [guest.timings.lease for guest in guests],
        "→first ping": [guest.timings.first_ping for guest in guests],
        "→v6 address": [guest.timings.address_v6 for guest in guests],
    }
    times = {title: values for title, values in times.items() if any(values)}
    table = _plain_table("guest", "host", "IPv4 (DHCP)", "IPv6", *times, "tap")
    for number, guest in enumerate(guests):
        seconds = [_seconds(values[number]) for values in times.values()]
        table.add_row(guest.name, guest.host, guest.v4 or "-", guest.v6 or "-", *seconds, guest.tap)
    return table


def topology(sandbox: Sandbox) -> str:
    """A drawing: the fabric router, the hosts, their guests."""
    lines = [f"  fabric router  {FABRIC_ROUTER_V4}  {FABRIC_ROUTER_V6}   (BIRD, learns every guest's route)"]
    hosts = sandbox.spec.host_names
    for host in hosts:
        corner, bar = ("└", " ") if host == hosts[-1] else ("├", "│")
        lines.append(
            f"  {corner}── {host}  {fabric_v4(host)}  {fabric_v6(host)}   (Felix, DHCP agent, BGP agent, BIRD)"
        )
        guests = [guest for guest in sandbox.guests if guest.host == host]
        for guest in guests:
            turn = "└" if guest is guests[-1] else "├"
            lines.append(f"  {bar}   {turn}── {guest.tap} ── {guest.name}  {guest.v4 or ''}  {guest.v6 or ''}")
    return "\n".join(lines) + "\n"


def memory(sandbox: Sandbox) -> dict[str, tuple[int, int, int]]:
    """Per place: (processes, resident bytes, proportional bytes); guests together under `guests`."""
    sums: dict[str, tuple[int, int, int]] = {}
    for namespace in existing():
        if not sandbox.layout.is_own_namespace(namespace):
            continue
        place = namespace.removeprefix(f"{sandbox.layout.name}-")
        place = "guests" if place.startswith("g-") else place
        for process in processes_in(namespace):
            resident, proportional = proportional_memory(process.pid)
            count, first, second = sums.get(place, (0, 0, 0))
            sums[place] = (count + 1, first + resident, second + proportional)
    return sums


def memory_table(sandbox: Sandbox) -> Table:
    table = _plain_table("place", "processes", "RSS MiB", "PSS MiB", title="Memory")
    sums = memory(sandbox)
    sums["total"] = tuple(map(sum, zip(*sums.values(), strict=True))) if sums else (0, 0, 0)  # type: ignore[assignment]
    for place, (count, resident, proportional) in sums.items():
        table.add_row(place, str(count), f"{resident / MIB:.0f}", f"{proportional / MIB:.0f}")
    return table


def process_table(sandbox: Sandbox) -> Table:
    table = _plain_table("process", "pid", "state", "log", title="Processes")
    for record in sandbox.state.records():
        if not record.process.name.startswith("g-"):
            state = "[green]runs[/]" if record.process.alive else "[red]ended[/]"
            table.add_row(record.process.name, str(record.program.pid), state, str(record.start.log))
    return table


def agent_table(sandbox: Sandbox) -> Table:
    table = _plain_table("agent", "host", "alive", title="Agents (Neutron)")
    for agent in sorted(sandbox.cloud.agents(), key=lambda one: (one["host"], one["agent_type"])):
        table.add_row(agent["agent_type"], agent["host"], "[green]yes[/]" if agent["alive"] else "[red]no[/]")
    return table


def status_report(sandbox: Sandbox) -> RenderableType:
    parts: list[RenderableType] = [process_table(sandbox), "", agent_table(sandbox), ""]
    if sandbox.guests:
        parts += [guest_table(sandbox), ""]
    return Group(*parts, memory_table(sandbox))
