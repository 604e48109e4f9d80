"""The steps of a plan that speak to Keystone and Neutron: what they mean in API calls."""

import time
from concurrent.futures import ThreadPoolExecutor, as_completed

from calico_openstack.sandbox import steps as do
from calico_openstack.sandbox.api import Identity, Json, Neutron, Nobody, seed_identity
from calico_openstack.sandbox.execute import log_tail
from calico_openstack.sandbox.guests import Cancelled, Guests
from calico_openstack.sandbox.secrets import Secrets
from calico_openstack.sandbox.spec import Rule, Spec
from calico_openstack.sandbox.state import SandboxError, State

# Each waits most of its time for others; more would only queue in the API's eight threads.
BOOTS_AT_ONCE = 6
AGENTS = ("calico-felix", "calico-dhcp-agent", "calico-bgp-agent")


class Cloud:
    """One sandbox's APIs."""

    def __init__(self, state: State, spec: Spec, secrets: Secrets) -> None:
        self.spec = spec
        self.state = state
        self._secrets = secrets
        self._identity: Identity | Nobody = Nobody()
        service: Identity | Nobody = Nobody()
        if spec.mode == "full":
            self._identity = Identity(state.layout, secrets.keystone_admin)
            service = Identity(state.layout, secrets.keystone_neutron, "neutron", "service")
        self.neutron = Neutron(state.layout, self._identity)
        # Bindings on another host are for services alone (Nova's user has that role in a real cloud).
        self.guests = Guests(state, self.neutron, Neutron(state.layout, service))

    def step(self, step: do.Step, cancelled: Cancelled) -> None:
        """Does a step that speaks to Keystone or Neutron; gives up, with SandboxError, when `cancelled` says so."""
        match step:
            case do.SeedIdentity():
                assert isinstance(self._identity, Identity)
                seed_identity(self.state.layout, self._identity, self._secrets.keystone_neutron)
            case do.MakeNetwork():
                self._make_network(step)
            case do.MakeGroups():
                self._make_groups(step)
            case do.WaitForAgents():
                self._wait_for_agents(step, cancelled)
            case do.Boot():
                self._boot(step, cancelled)
            case _:
                raise AssertionError(f"not a cloud step: {step}")

    def _make_network(self, step: do.MakeNetwork) -> None:
        # Shared, so that guests of other projects can be put on it too.
        fields: Json = {"name": step.network.name, "shared": True}
        if step.network.mtu is not None:
            fields["mtu"] = step.network.mtu
        network = self.neutron.create("networks", **fields)
        for subnet in step.network.subnets:
            more: Json = {"dns_nameservers": list(subnet.dns)} if subnet.dns else {}
            if subnet.ipv6_mode is not None:
                more |= {"ipv6_address_mode": subnet.ipv6_mode, "ipv6_ra_mode": subnet.ipv6_mode}
            self.neutron.create(
                "subnets",
                network_id=network["id"],
                ip_version=subnet.version,
                cidr=subnet.cidr,
                name=subnet.cidr,
                **more,
            )

    def _make_groups(self, step: do.MakeGroups) -> None:
        made = {group.name: self.neutron.create("security-groups", name=group.name) for group in step.groups}
        ids = {name: group["id"] for name, group in made.items()}
        for group in step.groups:
            if not group.open_egress:
                for given in made[group.name]["security_group_rules"]:
                    self.neutron.delete("security-group-rules", given["id"])
            for rule in group.rules:
                self.add_rule(ids[group.name], rule)

    def add_rule(self, group_id: str, rule: Rule) -> str:
        """Adds a rule to a security group and returns its id."""
        fields: Json = {
            "security_group_id": group_id,
            "direction": rule.direction,
            "ethertype": rule.ethertype,
            "protocol": rule.protocol,
        }
        if rule.ports is not None:
            fields["port_range_min"], fields["port_range_max"] = rule.ports
        if rule.remote_group is not None:
            fields["remote_group_id"] = self.guests.neutron_group(rule.remote_group)
        if rule.remote_cidr is not None:
            fields["remote_ip_prefix"] = rule.remote_cidr
        return str(self.neutron.create("security-group-rules", **fields)["id"])

    def agents(self) -> list[Json]:
        return self.neutron.list("agents")

    def _boot(self, step: do.Boot, cancelled: Cancelled) -> None:
        with ThreadPoolExecutor(BOOTS_AT_ONCE, thread_name_prefix="boot") as pool:
            boots = [pool.submit(self.guests.boot, guest, self.spec, 90.0, cancelled) for guest in step.guests]
            try:
                for boot in as_completed(boots):
                    boot.result()
            except BaseException:
                for boot in boots:
                    boot.cancel()
                raise

    def _wait_for_agents(self, step: do.WaitForAgents, cancelled: Cancelled) -> None:
        deadline = time.monotonic() + step.limit
        while True:
            alive = {(agent["host"], agent["binary"]) for agent in self.agents() if agent["alive"]}
            missing = [
                f"{program} on {host}" for host in step.hosts for program in AGENTS if (host, program) not in alive
            ]
            if not missing:
                return
            if cancelled():
                raise SandboxError("interrupted")
            for record in self.state.records():
                if not record.process.alive:
                    raise SandboxError(f"{record.process.name} ended\n{log_tail(record.start.log)}")
            if time.monotonic() > deadline:
                hosts = sorted({word.split()[-1] for word in missing})
                tails = [
                    log_tail(self.state.layout.log(f"{host}/{name}"), 8)
                    for host in hosts
                    for name in ("felix", "dhcp", "bgp")
                ]
                raise SandboxError("\n".join([f"Neutron does not see alive: {', '.join(missing)}", *tails]))
            time.sleep(0.2)
