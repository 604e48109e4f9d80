"""The plan of a whole sandbox: which stages there are and what waits for what.

    controller namespace ── etcd ──────────┬── BGP peers
             │                             ├── h1..hN agents ──────────────┐
             ├── MariaDB ── Keystone ──────┴── Neutron API ── networks ────┴── agents alive ── guests
             └── (template, first time only)
    fabric ── fabric router
    h1..hN namespace

Pure: what may differ from run to run (is there a template? which passwords?) comes in as an argument.
"""

from dataclasses import dataclass
from pathlib import Path

from calico_openstack.sandbox.layout import Layout
from calico_openstack.sandbox.plan.database import database_stage, template_stages
from calico_openstack.sandbox.plan.etcd import etcd_stage
from calico_openstack.sandbox.plan.fabric import fabric_router_stage, peers_stage
from calico_openstack.sandbox.plan.guests import clients_stage, guest_stages
from calico_openstack.sandbox.plan.hosts import host_stage
from calico_openstack.sandbox.plan.keystone import keystone_stage
from calico_openstack.sandbox.plan.network import network_stages
from calico_openstack.sandbox.plan.neutron import light_template_stage, neutron_stages
from calico_openstack.sandbox.secrets import Secrets
from calico_openstack.sandbox.spec import Spec
from calico_openstack.sandbox.steps import Plan, Stage

__all__ = ["Circumstances", "plan"]


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What the plan depends on besides the spec. `template` is where the prepared database is, or is to be made."""

    secrets: Secrets
    admin_hash: str
    template: Path
    template_exists: bool


def plan(spec: Spec, layout: Layout, circumstances: Circumstances) -> Plan:
    secrets, template = circumstances.secrets, circumstances.template
    stages: list[Stage] = [*network_stages(spec, layout), etcd_stage(layout, secrets), clients_stage(layout)]
    if spec.mode == "light":
        if not circumstances.template_exists:
            stages.append(light_template_stage(template))
        made = () if circumstances.template_exists else (stages[-1].title,)
        stages += neutron_stages(layout, secrets, "light", template, ("etcd", *made))
    else:
        made_here = [] if circumstances.template_exists else template_stages(layout, template, secrets)
        stages += made_here
        needs = tuple(stage.title for stage in made_here[-1:])
        stages.append(database_stage(layout, template, secrets, circumstances.admin_hash, needs))
        stages.append(keystone_stage(layout, secrets))
        # The API loads while Keystone does: it asks for a token only when somebody calls it.
        stages += neutron_stages(layout, secrets, "full", template, ("etcd", "MariaDB"))
    stages += [fabric_router_stage(spec, layout), peers_stage(layout, secrets)]
    stages += [host_stage(layout, secrets, host) for host in spec.host_names]
    stages += guest_stages(spec)
    return tuple(stages)
