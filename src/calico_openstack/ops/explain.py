"""`calico-openstack explain SOURCE DESTINATION`: may SOURCE open a new flow to DESTINATION, and because of which rule?

Reads etcd once, at one revision; asks `policy`, the meaning that Felix's rulesets are held to; prints. What a host's
settings add comes from the FelixConfigurations in etcd: a host's own file cannot be seen from here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import click

from calico_openstack.etcd.blocking import BlockingClient
from calico_openstack.felix.calc.graph import Graph
from calico_openstack.felix.settings import FelixSettings, resolve
from calico_openstack.felix.settings_sources import datastore_sources
from calico_openstack.model.endpoint import EndpointKey
from calico_openstack.model.intake import Absent, read
from calico_openstack.model.keys import EndpointStatusKey, resource_prefix
from calico_openstack.model.names import ORCHESTRATOR
from calico_openstack.model.status import EndpointStatus
from calico_openstack.ops import connection
from calico_openstack.policy.at_hosts import host_notes
from calico_openstack.policy.explanation import Explanation, Flow, HostView, Side, explain
from calico_openstack.policy.known import Known, known
from calico_openstack.policy.parties import Party, Unanswerable, find
from calico_openstack.policy.report import Facts, headline, identity, party_words, side_facts
from calico_openstack.policy.state import Packet
from calico_openstack.policy.verdict import Direction

DENIED = 1

_KINDS = (
    *("WorkloadEndpoint", "HostEndpoint", "NetworkPolicy", "GlobalNetworkPolicy", "Profile", "Tier", "NetworkSet"),
    *("GlobalNetworkSet", "Node", "FelixConfiguration"),
)
_UDP = 17


@click.command("explain")
@click.argument("source")
@click.argument("destination")
@click.option("--protocol", type=click.Choice(["tcp", "udp", "icmp", "sctp"]), help="[tcp with --port, else icmp]")
@click.option("--port", type=click.IntRange(1, 65535), help="The destination's port.")
@click.option("--version", type=click.Choice(["4", "6"]), help="IP version [4 if both ends have it].")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@connection.options
def command(
    source: str,
    destination: str,
    protocol: str | None,
    port: int | None,
    version: str | None,
    as_json: bool,
    config_file: str | None,
    etcd_endpoints: str | None,
) -> None:
    """May SOURCE open a new flow to DESTINATION? Says which policy and rule decide, on both sides.

    SOURCE and DESTINATION are a Neutron port id (or its beginning), an interface name or an IP address, also one
    outside; PORT@ADDRESS picks one address of a port, HOST/PORT one end of a live migration. Exit status: 0 allowed,
    1 denied, 2 no answer.
    """
    protocol = protocol or ("tcp" if port else "icmp")
    if (protocol == "icmp") == bool(port):
        raise click.UsageError("--port does not go with icmp" if port else f"{protocol} needs --port")
    flow = Flow(protocol, port or 0)
    try:
        settings = connection.etcd_settings(config_file, etcd_endpoints)
        with connection.connected(settings) as client:
            snapshot = client.snapshot([resource_prefix(kind) for kind in _KINDS])
            cloud = known((item.key, item.value) for item in snapshot.items)
            parties = (find(cloud, source), find(cloud, destination))
            answer = explain(cloud, *parties, flow, int(version) if version else None, lambda host: view(cloud, host))
            statuses = _statuses(client, answer)
    except (connection.SettingsError, connection.EtcdError, Unanswerable) as error:
        connection.fail(error)
    if as_json:
        click.echo(json.dumps(as_document(answer, cloud, statuses, snapshot.revision), indent=2))
    else:
        click.echo("\n".join(as_lines(answer, cloud, statuses)))
    raise SystemExit(0 if answer.allowed else DENIED)


def view(cloud: Known, host: str) -> HostView:
    """How that host's Felix sees the cloud, as far as etcd tells."""
    settings = resolve(host, datastore_sources(cloud.configurations, host, cloud.node_labels.get(host, {}))).settings
    graph = Graph(host, allow_spoofing=settings.workload_source_spoofing)
    for key, endpoint in cloud.state.endpoints.items():
        if key.host == host:
            graph.set_endpoint(key, endpoint)
    return HostView(graph.reasons(), settings.workload_source_spoofing, lambda packet: _forbidden(settings, packet))


def _forbidden(settings: FelixSettings, packet: Packet) -> str | None:
    tunnel = packet.protocol == _UDP and packet.destination_port == settings.vxlan_port
    if tunnel and not settings.allow_vxlan_packets_from_workloads:
        return "VXLAN from guests is dropped (Felix's setting AllowVXLANPacketsFromWorkloads)"
    return None


def as_lines(answer: Explanation, cloud: Known, statuses: dict[EndpointKey, str]) -> Iterator[str]:
    """For people."""
    yield headline(answer)
    for direction, party, side in _sides(answer):
        yield ""
        yield f"{direction} of {party_words(party)}"
        notes = host_notes(cloud, answer, party, direction)
        for note in notes:
            yield _line("note", note)
        if party.key in statuses:
            yield _line("status", statuses[party.key])
        if side is None:
            why = "" if notes else ": no host of this cloud looks at that end"
            yield _line("verdict", f"not decided here{why}")
            continue
        facts = side_facts(side, cloud.groups)
        yield _line("verdict", "allowed" if facts.pop("allowed") else "denied")
        for name, value in facts.items():
            for each in value if isinstance(value, list) else [value]:
                if each != "":
                    yield _line(name, str(each))


def _line(name: str, text: str) -> str:
    return f"  {name:<9} {text}"


def as_document(answer: Explanation, cloud: Known, statuses: dict[EndpointKey, str], revision: int) -> dict[str, Any]:
    """For programs. Facts are in the same words as for people; an end outside has no `side`."""

    def end(direction: Direction, party: Party, side: Side | None) -> dict[str, Any]:
        facts: Facts | None = side_facts(side, cloud.groups) if side is not None else None
        return {
            "asked": party.text,
            "endpoint": identity(party.key),
            "interface": party.endpoint.interface if party.endpoint else None,
            "address": party.address.address if party.address else None,
            "status": statuses.get(party.key) if party.key else None,
            "cause": side.cause if side is not None else None,
            "side": facts,
            "notes": host_notes(cloud, answer, party, direction),
        }

    return {
        "allowed": answer.allowed,
        "flow": {"protocol": answer.flow.protocol, "port": answer.flow.port or None, "version": answer.version},
        "source": end("egress", answer.source, answer.egress),
        "destination": end("ingress", answer.destination, answer.ingress),
        "revision": revision,
    }


def _sides(answer: Explanation) -> tuple[tuple[Direction, Party, Side | None], ...]:
    return ("egress", answer.source, answer.egress), ("ingress", answer.destination, answer.ingress)


def _statuses(client: BlockingClient, answer: Explanation) -> dict[EndpointKey, str]:
    """What the hosts say of the endpoints: a verdict is of no use while nothing is programmed."""
    paths = {}
    for key in (answer.source.key, answer.destination.key):
        if key is not None:
            region = key.namespace.removeprefix(f"{ORCHESTRATOR}-region-") if key.namespace != ORCHESTRATOR else None
            paths[key] = EndpointStatusKey(region, key).path
    found = client.get_many(paths.values()).items if paths else {}
    result = {}
    for key, path in paths.items():
        value = read(path, found[path].value) if path in found else None
        if value is None:
            result[key] = "its host has not reported it"
        elif isinstance(value, Absent) or not isinstance(value.value, EndpointStatus):
            result[key] = "its host's report cannot be read"
        else:
            result[key] = value.value.status
    return result
