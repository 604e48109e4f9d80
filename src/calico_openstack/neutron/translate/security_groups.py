"""A security group as the NetworkPolicy `ossg.default.<id>` (datamodel: name, selector and exactly three spec keys)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from calico_openstack.model.keys import ResourceKey
from calico_openstack.model.names import security_group_policy_name, sg_label
from calico_openstack.neutron.translate.document import Documents, JsonObject, Refusal, Wanted
from calico_openstack.neutron.translate.rules import translate_rule
from calico_openstack.neutron.translate.site import Site


def policy_key(site: Site, group_id: str) -> str:
    return ResourceKey("NetworkPolicy", security_group_policy_name(group_id), site.namespace).path


def group_documents(
    site: Site,
    group_id: str,
    rules: Sequence[Mapping[str, Any]] | None,
    address_groups: Mapping[str, Sequence[str]],
) -> Documents:
    """The policy of one security group; `rules` is None when the group is not in the database.

    Rules come out sorted by id, so that equal groups give equal text.
    """
    key = policy_key(site, group_id)
    if rules is None:
        return Documents(absent=frozenset({key}))
    sides: dict[str, list[JsonObject]] = {"ingress": [], "egress": []}
    refusals: list[Refusal] = []
    for rule in sorted(rules, key=lambda rule: str(rule.get("id"))):
        outcome = translate_rule(rule, address_groups)
        if isinstance(outcome, Refusal):
            refusals.append(Refusal(f"security group {group_id}, {outcome.subject}", outcome.reason, outcome.cure))
        else:
            sides[str(rule["direction"])].extend(outcome)
    spec: JsonObject = {
        "ingress": sides["ingress"],
        "egress": sides["egress"],
        "selector": f"has({sg_label(group_id)})",
    }
    wanted = Wanted(
        key=key,
        body=spec,
        kind="NetworkPolicy",
        name=security_group_policy_name(group_id),
        namespace=site.namespace,
    )
    return Documents(present=(wanted,), refusals=tuple(refusals))
