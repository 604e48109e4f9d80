"""Neutron's database as plain dicts, always read with an admin context of its own.

The caller's context is never used: a user who may see a port but not one of its security groups must not make that
group's policy vanish. Each call opens a fresh session, so that it sees what was committed before it. Rows are read in
bulk: one query per kind, however many objects.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from neutron_lib import constants
from neutron_lib import context as neutron_context
from neutron_lib.db import api as db_api
from neutron_lib.plugins import directory

from calico_openstack.neutron import compat
from calico_openstack.neutron.light import alone
from calico_openstack.neutron.translate.endpoints import Surroundings
from calico_openstack.neutron.translate.labels import Project
from calico_openstack.neutron.translate.slots import ENDPOINT_OWNERS

Row = Mapping[str, Any]

CHUNK = 500
"""Ids per query: below the number of variables that SQLite and MariaDB take comfortably."""


def chunks(ids: Iterable[str], size: int = CHUNK) -> Iterator[list[str]]:
    ordered = sorted(set(ids))
    for at in range(0, len(ordered), size):
        yield ordered[at : at + size]


def admin() -> Any:
    return neutron_context.get_admin_context()


def ports(ids: Iterable[str]) -> dict[str, Row]:
    found: dict[str, Row] = {}
    for some in chunks(ids):
        # Neutron's QoS and trunk extensions read on connections of their own while this one is in its transaction.
        with alone():
            rows = directory.get_plugin().get_ports(admin(), filters={"id": some})
        found.update((row["id"], row) for row in rows)
    return found


def port_states(ids: Collection[str] | None = None) -> dict[str, Row]:
    """What port status is decided by, of these ports or of all guests' ports: few columns, two tables, one query."""
    context = admin()
    port, bound = compat.PortModel, compat.PortBindingModel
    columns = (
        port.id,
        port.status,
        port.device_owner,
        port.device_id,
        port.admin_state_up,
        bound.host,
        bound.vif_type,
        bound.profile,
    )
    found: dict[str, Row] = {}
    with db_api.CONTEXT_READER.using(context):
        query = (
            context.session.query(*columns)
            .join(bound, bound.port_id == port.id)
            .filter(bound.status == constants.ACTIVE)
        )
        for some in [None] if ids is None else chunks(ids):
            for row in query if some is None else query.filter(port.id.in_(some)):
                if str(row[2] or "").startswith(ENDPOINT_OWNERS):
                    found[row[0]] = _port_state(row)
    return found


def _port_state(row: Sequence[Any]) -> Row:
    try:
        profile = json.loads(row[7]) if row[7] else {}
    except ValueError:
        profile = {}
    return {
        "id": row[0],
        "status": row[1],
        "device_owner": row[2],
        "device_id": row[3],
        "admin_state_up": row[4],
        "binding:host_id": row[5],
        "binding:vif_type": row[6],
        "binding:profile": profile,
    }


def endpoint_port_ids() -> list[str]:
    """Ids of all ports that belong to guests, bound or not."""
    context = admin()
    with db_api.CONTEXT_READER.using(context):
        query = context.session.query(compat.PortModel.id, compat.PortModel.device_owner)
        return sorted(row[0] for row in query if str(row[1] or "").startswith(ENDPOINT_OWNERS))


def endpoint_port_ids_of_project(project_id: str) -> list[str]:
    context = admin()
    with db_api.CONTEXT_READER.using(context):
        query = context.session.query(compat.PortModel.id, compat.PortModel.device_owner).filter(
            compat.PortModel.project_id == project_id
        )
        return sorted(row[0] for row in query if str(row[1] or "").startswith(ENDPOINT_OWNERS))


def port_ids_of_groups(group_ids: Collection[str]) -> set[str]:
    found: set[str] = set()
    context = admin()
    with db_api.CONTEXT_READER.using(context):
        binding = compat.SecurityGroupPortBinding
        for some in chunks(group_ids):
            query = context.session.query(binding.port_id).filter(binding.security_group_id.in_(some))
            found.update(row[0] for row in query)
    return found


def port_ids_of_networks(network_ids: Collection[str]) -> set[str]:
    found: set[str] = set()
    context = admin()
    with db_api.CONTEXT_READER.using(context):
        port = compat.PortModel
        for some in chunks(network_ids):
            found.update(row[0] for row in context.session.query(port.id).filter(port.network_id.in_(some)))
    return found


def port_ids_of_qos_policy(policy_id: str) -> set[str]:
    """Ports that have the policy themselves or through their network."""
    context = admin()
    policy = compat.QosPolicy.get_object(context, id=policy_id)
    if policy is None:
        return set()
    found = set(policy.get_bound_ports())
    networks = set(policy.get_bound_networks())
    return found | port_ids_of_networks(networks) if networks else found


def security_group_ids() -> list[str]:
    context = admin()
    with db_api.CONTEXT_READER.using(context):
        return sorted(row[0] for row in context.session.query(compat.SecurityGroupModel.id))


def group_ids_of_address_group(address_group_id: str) -> set[str]:
    rules = compat.SecurityGroupRule.get_objects(admin(), remote_address_group_id=[address_group_id])
    return {rule.security_group_id for rule in rules}


def group_ids_of_remote_group(group_id: str) -> set[str]:
    """Groups with a rule whose remote group is this one."""
    rules = compat.SecurityGroupRule.get_objects(admin(), remote_group_id=[group_id])
    return {rule.security_group_id for rule in rules}


def security_group_rules(group_ids: Iterable[str]) -> dict[str, list[Row]]:
    """The rules of each group that exists, by group id."""
    found: dict[str, list[Row]] = {}
    context = admin()
    model = compat.SecurityGroupModel
    for some in chunks(group_ids):
        with db_api.CONTEXT_READER.using(context):
            existing = [row[0] for row in context.session.query(model.id).filter(model.id.in_(some))]
        found.update((group_id, []) for group_id in existing)
        if existing:
            filters = {"security_group_id": existing}
            for rule in directory.get_plugin().get_security_group_rules(context, filters=filters):
                found[rule["security_group_id"]].append(rule)
    return found


def address_groups(ids: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for some in chunks(ids):
        for group in compat.AddressGroup.get_objects(admin(), id=some):
            found[group.id] = [str(association.address) for association in group.addresses or ()]
    return found


def subnets(ids: Iterable[str]) -> dict[str, Row]:
    found: dict[str, Row] = {}
    for some in chunks(ids):
        found.update((row["id"], row) for row in directory.get_plugin().get_subnets(admin(), filters={"id": some}))
    return found


def all_subnets() -> dict[str, Row]:
    return {row["id"]: row for row in directory.get_plugin().get_subnets(admin())}


def surroundings(rows: Collection[Row], projects: Mapping[str, Project]) -> Surroundings:
    """What the documents of these ports need besides the ports: one query per kind."""
    policies = {
        str(row.get("qos_policy_id") or row.get("qos_network_policy_id"))
        for row in rows
        if row.get("qos_policy_id") or row.get("qos_network_policy_id")
    }
    context = admin()
    network, subnet, group, fip = (
        compat.NetworkModel,
        compat.SubnetModel,
        compat.SecurityGroupModel,
        compat.FloatingIPModel,
    )
    subnet_ids = {
        str(entry["subnet_id"]) for row in rows for entry in row.get("fixed_ips") or () if entry.get("subnet_id")
    }
    group_ids = {str(group_id) for row in rows for group_id in row.get("security_groups") or ()}
    floating: dict[str, list[Row]] = {}
    # Columns, not objects: a row of the plugin costs some ten queries and milliseconds, and every API call pays.
    with db_api.CONTEXT_READER.using(context):
        networks = _select(context, (network.id, network.name), network.id, {str(row["network_id"]) for row in rows})
        subnet_rows = _select(context, (subnet.id, subnet.cidr, subnet.gateway_ip), subnet.id, subnet_ids)
        names = _select(context, (group.id, group.name), group.id, group_ids)
        columns = (fip.fixed_port_id, fip.fixed_ip_address, fip.floating_ip_address)
        for port_id, inner, outer in _select(context, columns, fip.fixed_port_id, {str(row["id"]) for row in rows}):
            pair = {"fixed_ip_address": str(inner), "floating_ip_address": str(outer)}
            floating.setdefault(port_id, []).append(pair)
    return Surroundings(
        subnets={row[0]: {"cidr": str(row[1]), "gateway_ip": str(row[2]) if row[2] else None} for row in subnet_rows},
        networks={row[0]: {"id": row[0], "name": row[1]} for row in networks},
        group_names={row[0]: row[1] or "" for row in names},
        floating_ips=floating,
        qos_rules=_qos_rules(policies),
        projects=projects,
    )


def _select(context: Any, columns: tuple[Any, ...], key: Any, ids: Collection[str]) -> list[Any]:
    found: list[Any] = []
    for some in chunks(ids):
        found.extend(context.session.query(*columns).filter(key.in_(some)))
    return found


def _qos_rules(policy_ids: Iterable[str]) -> dict[str, Sequence[Row]]:
    found: dict[str, Sequence[Row]] = {}
    for some in chunks(policy_ids):
        for policy in compat.QosPolicy.get_objects(admin(), id=some):
            found[policy.id] = [_qos_rule(rule) for rule in policy.rules]
    return found


def _qos_rule(rule: Any) -> Row:
    names = ("direction", "max_kbps", "max_burst_kbps", "max_kpps", "max_burst_kpps")
    return {"rule_type": rule.rule_type} | {name: getattr(rule, name) for name in names if name in rule.fields}
