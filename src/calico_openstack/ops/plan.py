"""`calico-openstack plan`: what Felix would do to this kernel now, and why. Touches nothing.

Goes Felix's way from the settings through etcd and the graph to what is wanted, reads the kernel back with Felix's
readers, and prints the difference instead of applying it. To be run on a compute host, as root.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import click

from calico_openstack.daemon import logs
from calico_openstack.etcd.values import Event, Snapshot
from calico_openstack.felix.calc.graph import Graph
from calico_openstack.felix.comparison import Comparison, compare
from calico_openstack.felix.dataplane import DataplaneSettings
from calico_openstack.felix.dataplane_settings import dataplane_settings
from calico_openstack.felix.datastore import Datastore
from calico_openstack.felix.kernel.others import Others
from calico_openstack.felix.kernel.sysctls import Sysctls
from calico_openstack.felix.main import DEFAULT_FILE, local_settings
from calico_openstack.felix.plan import findings
from calico_openstack.felix.ruleset.text import print_changes
from calico_openstack.felix.settings import FelixSettings, Source, resolve
from calico_openstack.felix.settings_sources import datastore_sources
from calico_openstack.felix.surroundings import Surroundings, has_ipv6
from calico_openstack.felix.switchover import look
from calico_openstack.felix.wanted.state import Changes
from calico_openstack.model.endpoint import EndpointKey
from calico_openstack.model.keys import RESOURCES
from calico_openstack.ops import connection

SOMETHING = 1


@dataclass(frozen=True, slots=True)
class Thought:
    """What a Felix that starts now makes of the datastore. `frozen`: why it would not write to the kernel yet."""

    settings: FelixSettings
    changes: Changes
    frozen: str | None
    problems: tuple[str, ...]
    documents: tuple[str, ...]
    absent: dict[EndpointKey, str]


class Around(NamedTuple):
    """`leftovers` of the upstream Felix that are to be removed, and `obstacles`, in words."""

    leftovers: list[str]
    obstacles: list[str]


@click.command("plan")
@click.option("--text", is_flag=True, help="Only the nftables transaction, for nft -f.")
@click.option(
    *("-c", "--config-file"),
    default=DEFAULT_FILE,
    show_default=True,
    envvar=connection.CONFIG_FILE,
    help="Felix's settings, INI.",
)
def command(text: bool, config_file: str) -> None:
    """What Felix would change on this host now, and why; changes nothing. Needs root.

    Exit status: 0 nothing to do, 1 something to do, 2 no answer.
    """
    logs.setup("NONE")
    try:
        settings, local = local_settings(config_file, explicit=config_file != DEFAULT_FILE)
        with connection.connected(settings.etcd) as client:
            thought = think(settings, local, client.snapshot(RESOURCES))
        sysctls = Sysctls()
        rp_filter = sysctls.read("ipv4/conf/default/rp_filter") or "1"
        has_ipv6 = sysctls.read("ipv6/conf/all/forwarding") is not None
        wanted = dataplane_settings(thought.settings, rp_filter, has_ipv6)
        comparison = compare(wanted, thought.changes)
        around = _look_around(wanted, comparison)
    except (connection.SettingsError, connection.EtcdError) as error:
        connection.fail(error)
    except OSError as error:
        cure = "; run it as root" if error.errno in (errno.EPERM, errno.EACCES) else ""
        connection.fail(f"cannot read the kernel's state: {error}{cure}")
    if text:
        click.echo(print_changes(comparison.nft), nl=False)
    else:
        click.echo("\n".join(as_lines(thought, comparison, around)))
    raise SystemExit(SOMETHING if comparison or around.leftovers else 0)


def think(settings: FelixSettings, local: list[Source], snapshot: Snapshot) -> Thought:
    """Felix's way from documents to what this host should look like."""
    graph = Graph(settings.felix_hostname, allow_spoofing=settings.workload_source_spoofing)
    store = Datastore(graph)
    store.take(Event(item.key, item.value, item.mod_revision) for item in snapshot.items)
    sources = datastore_sources(store.configurations.values(), settings.felix_hostname, store.node_labels)
    resolved = resolve(settings.felix_hostname, [*local, *sources])
    graph.set_allow_spoofing(resolved.settings.workload_source_spoofing)
    misnamed = store.census.misnamed(settings.felix_hostname)
    return Thought(
        settings=resolved.settings,
        changes=graph.flush(),
        frozen=store.not_ready,
        problems=(*resolved.problems, *([misnamed] if misnamed else [])),
        documents=tuple(reason for _, reason in sorted(store.complaints.items())),
        absent=graph.reasons(),
    )


def _look_around(settings: DataplaneSettings, comparison: Comparison) -> Around:
    others = Others()
    try:
        surroundings = Surroundings(
            others, settings.ruleset.tap_prefixes, lambda: settings.host.ipv6 and has_ipv6(comparison.owners.values())
        )
        found = look(others, surroundings, settings.ruleset.is_tap)
    finally:
        others.close()
    left = [str(found)] if found and settings.remove_upstream_rules else []
    left += [f"not before guests can do without: {one}" for one in found.held if left]
    return Around(left, [str(one) for one in surroundings.obstacles])


def as_lines(thought: Thought, comparison: Comparison, around: Around) -> Iterator[str]:
    """For people."""
    total = sum(comparison.counts().values())
    host = thought.settings.felix_hostname
    idle = "the host is to be taken over from upstream" if around.leftovers else "nothing to do"
    endpoints, work = _counted(len(comparison.owners), "endpoint"), _counted(total, "operation")
    yield f"host {host}: {endpoints}; {f'{work} to do' if total else idle}"
    if thought.frozen is not None:
        yield f"Felix waits and does none of it: {thought.frozen}"
    for target, found in findings(comparison).items():
        yield from _section(target, [f"{finding.what}: {finding.why}" for finding in found])
    yield from _section("left by the upstream Felix, to be removed once ours is in place", around.leftovers)
    yield from _section("other software that stops guests", around.obstacles)
    yield from _section("taps that are not there or do not carry", [
        f"{owner.interface}, port {owner.key.endpoint}" for owner in comparison.waiting
    ])  # fmt: skip
    refused = {**thought.absent, **comparison.refused}
    yield from _section("endpoints not programmed", [
        f"port {key.endpoint}: {reason}" for key, reason in sorted(refused.items())
    ])  # fmt: skip
    yield from _section("documents refused", list(thought.documents))
    yield from _section("settings ignored or in doubt", list(thought.problems))


def _section(title: str, lines: list[str]) -> Iterator[str]:
    if lines:
        yield ""
        yield title
        for line in lines:
            yield f"  {line}"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
