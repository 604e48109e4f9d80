"""etcd away, and a process that dies: the API goes on, and etcd is right in the end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any


def test_the_api_works_without_etcd_and_etcd_is_right_when_it_is_back(neutron: Any, cloud: Any) -> None:
    kept, removed = cloud.port(), cloud.port()
    assert cloud.endpoint(removed["id"]) is not None
    neutron.etcd.kill()
    try:
        started = time.monotonic()
        created = cloud.port()
        neutron.call("DELETE", f"ports/{removed['id']}")
        neutron.create(
            "security_group_rule",
            security_group_id=cloud.group["id"],
            direction="ingress",
            ethertype="IPv4",
            protocol="udp",
        )
        neutron.update("port", kept["id"], allowed_address_pairs=[{"ip_address": "10.65.0.77"}])
        took = time.monotonic() - started
    finally:
        neutron.etcd.start()

    # One call waits etcd_request_timeout (1 s); after that nobody waits while etcd is known to be away.
    assert took < 10
    assert created["binding:vif_type"] == "tap"
    neutron.wait(lambda: cloud.endpoint(created["id"]), what="the port made during the outage")
    neutron.wait(lambda: cloud.endpoint(removed["id"]) is None, what="the port deleted during the outage")
    neutron.wait(
        lambda: cloud.endpoint(kept["id"])["spec"]["allowedIps"] == ["10.65.0.77/32"],
        what="the port changed during the outage",
    )
    neutron.wait(
        lambda: (
            {"action": "Allow", "ipVersion": 4, "protocol": 17} in cloud.policy(cloud.group["id"])["spec"]["ingress"]
        ),
        what="the rule made during the outage",
    )


def test_of_all_calls_on_a_frozen_etcd_one_waits_and_only_as_long_as_it_may(neutron: Any, cloud: Any) -> None:
    """Frozen is worse than gone: connections stand, nobody answers."""
    removed = cloud.port()
    took: list[float] = []

    def timed(call: Callable[[], Any]) -> Any:
        started = time.monotonic()
        answer = call()
        took.append(time.monotonic() - started)
        return answer

    neutron.etcd.freeze()
    try:
        made = [timed(cloud.port) for _ in range(5)]
        timed(lambda: neutron.call("DELETE", f"ports/{removed['id']}"))
    finally:
        neutron.etcd.thaw()

    # etcd_request_timeout is 1 s, a call without etcd takes 0.1 to 0.2 s.
    assert took[0] < 3
    assert sum(took[1:]) < 4
    neutron.wait(lambda: all(cloud.endpoint(port["id"]) for port in made), what="the ports made meanwhile")
    neutron.wait(lambda: cloud.endpoint(removed["id"]) is None, what="the port deleted meanwhile")


def test_a_restart_repairs_whatever_differs_and_touches_nothing_else(neutron: Any, cloud: Any) -> None:
    right, missing, wrong = cloud.port(), cloud.port(), cloud.port()
    cloud.port(port_security_enabled=False, security_groups=[])
    profile = "/calico/resources/v3/projectcalico.org/profiles/openstack-no-port-security"
    assert neutron.document(profile) is not None
    surplus = cloud.endpoint_path("99999999-5f60-4718-8293-a4b5c6d7e8f9", host="compute-77")
    foreign = "/calico/resources/v3/projectcalico.org/workloadendpoints/openstack/a-k8s-pod-eth0"
    group_surplus = cloud.policy_path("99999999-0000-4000-8000-000000000000")
    operators = "/calico/resources/v3/projectcalico.org/networkpolicies/openstack/operators"
    before = neutron.client.get(cloud.endpoint_path(right["id"])).mod_revision
    neutron.stop()
    neutron.client.delete(cloud.endpoint_path(missing["id"]))
    neutron.client.put(cloud.endpoint_path(wrong["id"]), b"rubbish")
    neutron.client.delete(profile)
    for key in (surplus, foreign, group_surplus, operators):
        neutron.client.put(key, b'{"kind": "?", "spec": {}}')
    neutron.client.delete(f"/calico/dhcp/v2/no-region/subnet/{cloud.v4['id']}")
    neutron.start()

    neutron.wait(lambda: cloud.endpoint(missing["id"]), 60, "the missing endpoint")
    neutron.wait(lambda: cloud.endpoint(wrong["id"])["spec"]["endpoint"] == wrong["id"], what="the broken endpoint")
    neutron.wait(lambda: neutron.document(profile), what="the profile of open ports")
    neutron.wait(lambda: neutron.client.get(surplus) is None, what="the surplus endpoint is gone")
    neutron.wait(lambda: neutron.client.get(group_surplus) is None, what="the surplus policy is gone")
    neutron.wait(lambda: neutron.document(f"/calico/dhcp/v2/no-region/subnet/{cloud.v4['id']}"), what="the subnet")
    assert neutron.client.get(foreign) is not None
    assert neutron.client.get(operators) is not None
    assert neutron.client.get(cloud.endpoint_path(right["id"])).mod_revision == before


def test_many_changes_at_once_end_with_what_the_database_says(neutron: Any, cloud: Any) -> None:
    port = cloud.port()

    def churn(number: int) -> None:
        for turn in range(6):
            neutron.update(
                "port", port["id"], allowed_address_pairs=[{"ip_address": f"10.65.0.{100 + 10 * number + turn}"}]
            )

    threads = [threading.Thread(target=churn, args=(number,)) for number in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pair = neutron.get(f"ports/{port['id']}")["port"]["allowed_address_pairs"][0]["ip_address"]

    assert cloud.endpoint(port["id"])["spec"]["allowedIps"] == [f"{pair}/32"]
