"""Every change that the API can make arrives in etcd; old and new state of a row both count."""

from __future__ import annotations

from typing import Any

NOBODY = {"device_owner": "", "device_id": ""}


def test_a_group_follows_its_rules_and_its_address_groups(neutron: Any, cloud: Any) -> None:
    group = neutron.create("security_group", name="rules")
    before = cloud.policy(group["id"])
    before["spec"]["egress"].sort(key=lambda rule: rule["ipVersion"])
    assert before["spec"] == {
        "ingress": [],
        "egress": [{"action": "Allow", "ipVersion": 4}, {"action": "Allow", "ipVersion": 6}],
        "selector": f"has(sg.projectcalico.org/openstack-{group['id']})",
    }

    def ingress() -> Any:
        return cloud.policy(group["id"])["spec"]["ingress"]

    def rule(**values: Any) -> Any:
        given = {"security_group_id": group["id"], "direction": "ingress", "ethertype": "IPv4"}
        return neutron.create("security_group_rule", **(given | values))

    ssh = rule(protocol="tcp", port_range_min=22, port_range_max=22)
    assert ingress() == [{"action": "Allow", "ipVersion": 4, "protocol": 6, "destination": {"ports": [22]}}]
    after = cloud.policy(group["id"])
    assert {name: after["metadata"][name] for name in ("uid", "creationTimestamp")} == {
        name: before["metadata"][name] for name in ("uid", "creationTimestamp")
    }

    neutron.call("DELETE", f"security-group-rules/{ssh['id']}")
    assert ingress() == []

    addresses = neutron.create("address_group", name="office", addresses=["198.51.100.0/25", "2001:db8:b::/64"])
    rule(remote_address_group_id=addresses["id"])
    assert ingress() == [{"action": "Allow", "ipVersion": 4, "source": {"nets": ["198.51.100.0/25"]}}]
    neutron.call("PUT", f"address-groups/{addresses['id']}/add_addresses", {"addresses": ["192.0.2.7/32"]})
    assert ingress()[0]["source"]["nets"] == ["192.0.2.7/32", "198.51.100.0/25"]
    neutron.call(
        "PUT",
        f"address-groups/{addresses['id']}/remove_addresses",
        {"addresses": ["192.0.2.7/32", "198.51.100.0/25"]},
    )
    assert ingress() == []

    neutron.call("DELETE", f"security-groups/{group['id']}")
    assert cloud.policy(group["id"]) is None


def test_a_port_that_nova_gives_up_loses_its_endpoint(neutron: Any, cloud: Any) -> None:
    port = cloud.port()
    assert cloud.endpoint(port["id"]) is not None

    neutron.update("port", port["id"], **NOBODY)
    assert cloud.endpoint(port["id"]) is None

    other = "11111111-4b5e-4f60-9a7b-0c1d2e3f4a5b"
    neutron.update("port", port["id"], device_owner="compute:nova", device_id=other)
    assert cloud.endpoint(port["id"], device=other) is not None

    neutron.update("port", port["id"], **{"binding:host_id": ""})
    assert cloud.endpoint(port["id"], device=other) is None


def test_a_port_created_first_and_bound_later_moves_with_its_host(neutron: Any, cloud: Any) -> None:
    port = neutron.create("port", network_id=cloud.network["id"])
    neutron.update(
        "port",
        port["id"],
        **{"device_owner": "compute:nova", "device_id": cloud.device, "binding:host_id": cloud.host},
    )
    assert cloud.endpoint(port["id"])["spec"]["node"] == cloud.host
    default_group = port["security_groups"][0]
    assert cloud.policy(default_group) is not None

    neutron.update("port", port["id"], **{"binding:host_id": cloud.other_host})
    assert cloud.endpoint(port["id"]) is None
    assert cloud.endpoint(port["id"], cloud.other_host)["spec"]["node"] == cloud.other_host


def test_names_gateways_pairs_and_administrative_state_reach_the_endpoint(neutron: Any, cloud: Any) -> None:
    port = cloud.port()

    def labels() -> Any:
        return cloud.endpoint(port["id"])["metadata"]["labels"]

    neutron.update("network", cloud.network["id"], name="renamed")
    assert labels()["projectcalico.org/openstack-network-name"] == "renamed"
    neutron.update("security_group", cloud.group["id"], name="api tier")
    assert labels()[f"sg.projectcalico.org/openstack-{cloud.group['id']}"] == "api_tier"
    assert "sg-name.projectcalico.org/openstack-web_tier" not in labels()

    neutron.update(
        "port", port["id"], allowed_address_pairs=[{"ip_address": "10.65.0.128/26"}, {"ip_address": "0.0.0.0/0"}]
    )
    assert cloud.endpoint(port["id"])["spec"]["allowedIps"] == ["10.65.0.128/26"]

    neutron.update("port", port["id"], admin_state_up=False)
    assert cloud.endpoint(port["id"]) is None
    neutron.update("port", port["id"], admin_state_up=True)
    assert cloud.endpoint(port["id"]) is not None

    neutron.update("subnet", cloud.v6["id"], gateway_ip=None)
    assert "ipv6Gateway" not in cloud.endpoint(port["id"])["spec"]
    neutron.update("subnet", cloud.v6["id"], gateway_ip="2001:db8:a41::1")
    assert cloud.endpoint(port["id"])["spec"]["ipv6Gateway"] == "2001:db8:a41::1"


def test_a_port_without_port_security_refers_to_a_stored_profile_that_allows(neutron: Any, cloud: Any) -> None:
    port = cloud.port(port_security_enabled=False, security_groups=[])
    profile = neutron.document("/calico/resources/v3/projectcalico.org/profiles/openstack-no-port-security")

    assert cloud.endpoint(port["id"])["spec"]["profiles"] == ["openstack-no-port-security"]
    assert profile["spec"] == {"ingress": [{"action": "Allow"}], "egress": [{"action": "Allow"}]}

    neutron.update("port", port["id"], port_security_enabled=True, security_groups=[cloud.group["id"]])
    assert "profiles" not in cloud.endpoint(port["id"])["spec"]


def test_a_floating_ip_comes_moves_and_goes(neutron: Any, cloud: Any) -> None:
    outside = neutron.create(
        "network",
        name="out",
        **{"router:external": True, "provider:network_type": "flat", "provider:physical_network": "p"},
    )
    neutron.create("subnet", network_id=outside["id"], ip_version=4, cidr="172.24.4.0/24", enable_dhcp=False)
    router = neutron.create("router", external_gateway_info={"network_id": outside["id"]})
    neutron.call("PUT", f"routers/{router['id']}/add_router_interface", {"subnet_id": cloud.v4["id"]})
    (interface,) = neutron.get("ports?device_owner=network:router_interface")["ports"]
    assert interface["status"] == "ACTIVE"
    one, other = cloud.port(), cloud.port()

    def nats(port: Any) -> Any:
        return cloud.endpoint(port["id"])["spec"].get("ipNATs")

    def inside(port: Any) -> str:
        return next(ip["ip_address"] for ip in port["fixed_ips"] if "." in ip["ip_address"])

    address = neutron.create("floatingip", floating_network_id=outside["id"], port_id=one["id"])
    outer = address["floating_ip_address"]
    assert nats(one) == [{"internalIP": inside(one), "externalIP": outer}]
    neutron.update("floatingip", address["id"], port_id=other["id"])
    assert nats(one) is None
    assert nats(other) == [{"internalIP": inside(other), "externalIP": outer}]
    neutron.call("DELETE", f"floatingips/{address['id']}")
    assert nats(other) is None


def test_qos_rules_of_the_port_and_of_its_network_reach_the_endpoint(neutron: Any, cloud: Any) -> None:
    port = cloud.port()

    def controls() -> Any:
        return cloud.endpoint(port["id"])["spec"].get("qosControls")

    def policy(name: str) -> str:
        return str(neutron.call("POST", "qos/policies", {"policy": {"name": name}})["policy"]["id"])

    own, networks = policy("own"), policy("network")
    rule = {"max_kbps": 10200, "max_burst_kbps": 20300, "direction": "egress"}
    neutron.call("POST", f"qos/policies/{own}/bandwidth_limit_rules", {"bandwidth_limit_rule": rule})
    neutron.update("port", port["id"], qos_policy_id=own)
    limited = {"egressBandwidth": 10200000, "egressPeakrate": 20300000, "egressBurst": 4294967296}
    assert controls() == limited

    packets = {"max_kpps": 6, "direction": "ingress"}
    neutron.call("POST", f"qos/policies/{own}/packet_rate_limit_rules", {"packet_rate_limit_rule": packets})
    assert controls() == limited | {"ingressPacketRate": 6000, "ingressPacketBurst": 5}

    neutron.update("port", port["id"], qos_policy_id=None)
    assert controls() is None
    neutron.call("POST", f"qos/policies/{networks}/packet_rate_limit_rules", {"packet_rate_limit_rule": packets})
    neutron.update("network", cloud.network["id"], qos_policy_id=networks)
    assert controls() == {"ingressPacketRate": 6000, "ingressPacketBurst": 5}
    neutron.update("network", cloud.network["id"], qos_policy_id=None)
    assert controls() is None


def test_a_live_migration_has_both_endpoints_and_its_document_until_it_ends(neutron: Any, cloud: Any) -> None:
    port = cloud.port()
    source = cloud.endpoint(port["id"])
    target = cloud.other_host

    neutron.update("port", port["id"], **{"binding:profile": {"migrating_to": target}})
    assert cloud.endpoint(port["id"])["metadata"]["uid"] == source["metadata"]["uid"]
    assert cloud.endpoint(port["id"], target)["spec"]["node"] == target
    side = {"orchestratorID": "openstack", "workloadID": f"openstack/{cloud.device}", "endpointID": port["id"]}
    assert neutron.document(cloud.migration_path(port["id"], target))["spec"] == {
        "source": {"workloadEndpoint": {"hostname": cloud.host, **side}},
        "target": {"workloadEndpoint": {"hostname": target, **side}},
    }

    neutron.update("port", port["id"], **{"binding:profile": {}})
    assert cloud.endpoint(port["id"])["metadata"]["uid"] == source["metadata"]["uid"]
    assert cloud.endpoint(port["id"], target) is None
    assert neutron.document(cloud.migration_path(port["id"], target)) is None

    neutron.update("port", port["id"], **{"binding:profile": {"migrating_to": target}})
    neutron.update("port", port["id"], **{"binding:host_id": target, "binding:profile": {}})
    assert cloud.endpoint(port["id"]) is None
    assert cloud.endpoint(port["id"], target) is not None
    assert neutron.document(cloud.migration_path(port["id"], target)) is None


def test_ports_that_are_nobodys_guest_have_no_endpoint(neutron: Any, cloud: Any) -> None:
    port = cloud.port(device_owner="network:dhcp", security_groups=[])
    direct = cloud.port(**{"binding:vnic_type": "direct"})

    assert cloud.endpoint(port["id"]) is None
    assert direct["binding:vif_type"] == "binding_failed"
    assert cloud.endpoint(direct["id"]) is None


def test_a_rule_goes_with_the_remote_group_that_it_names(neutron: Any, cloud: Any) -> None:
    naming, named = (neutron.create("security_group", name=name) for name in ("naming", "named"))
    neutron.create(
        "security_group_rule",
        security_group_id=naming["id"],
        direction="ingress",
        ethertype="IPv4",
        remote_group_id=named["id"],
    )
    assert len(cloud.policy(naming["id"])["spec"]["ingress"]) == 1

    neutron.call("DELETE", f"security-groups/{named['id']}")
    neutron.wait(lambda: cloud.policy(naming["id"])["spec"]["ingress"] == [], 4, "the database's cascade in etcd")
    assert cloud.policy(named["id"]) is None


def test_ports_made_in_bulk_have_their_endpoints_when_the_call_returns(neutron: Any, cloud: Any) -> None:
    given = {
        "network_id": cloud.network["id"],
        "device_owner": "compute:nova",
        "device_id": cloud.device,
        "binding:host_id": cloud.host,
    }
    made = neutron.call("POST", "ports", {"ports": [given] * 3})["ports"]

    assert all(cloud.endpoint(port["id"]) for port in made)


def test_a_subnet_added_later_gives_its_automatic_address_to_the_endpoint(neutron: Any, cloud: Any) -> None:
    network = neutron.create("network", name="grows")
    neutron.create("subnet", network_id=network["id"], ip_version=4, cidr="10.66.0.0/24")
    port = cloud.port(network_id=network["id"])
    mode = "slaac"
    neutron.create(
        "subnet",
        network_id=network["id"],
        ip_version=6,
        cidr="2001:db8:66::/64",
        ipv6_ra_mode=mode,
        ipv6_address_mode=mode,
    )
    addresses = [entry["ip_address"] for entry in neutron.get(f"ports/{port['id']}")["port"]["fixed_ips"]]

    assert len(addresses) == 2
    assert {net.partition("/")[0] for net in cloud.endpoint(port["id"])["spec"]["ipNetworks"]} == set(addresses)
