from __future__ import annotations

from typing import Any

import pytest

from calico_openstack.neutron.translate.slots import Presence, Slot, possible_slots, slots

PORT = {
    "device_owner": "compute:nova",
    "device_id": "d",
    "admin_state_up": True,
    "binding:host_id": "a",
    "binding:vif_type": "tap",
    "binding:vnic_type": "normal",
    "binding:profile": {},
}
MIGRATING = {"binding:profile": {"migrating_to": "b"}}
PRESENT, AS_STORED = Presence.PRESENT, Presence.AS_STORED


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {"a": PRESENT}),
        ({"device_owner": "kuryr:container"}, {"a": PRESENT}),
        ({"binding:vif_type": "binding_failed"}, {"a": PRESENT}),
        ({"binding:vif_type": "unbound"}, {"a": AS_STORED}),
        (MIGRATING, {"a": PRESENT, "b": PRESENT}),
        (MIGRATING | {"binding:vif_type": "unbound"}, {"a": PRESENT, "b": PRESENT}),
        ({"binding:profile": {"migrating_to": "a"}}, {"a": PRESENT}),
        ({"binding:profile": {"migrating_to": 7}}, {"a": PRESENT}),
        ({"binding:profile": None}, {"a": PRESENT}),
        ({"binding:vif_type": "hw_veb"}, {}),
        ({"binding:vif_type": "binding_failed", "binding:vnic_type": "direct"}, {}),
        ({"binding:host_id": ""}, {}),
        ({"binding:host_id": ""} | MIGRATING, {}),
        ({"device_id": ""}, {}),
        ({"device_owner": ""}, {}),
        ({"device_owner": "network:dhcp"}, {}),
        ({"device_owner": "trunk:subport"}, {}),
        ({"admin_state_up": False}, {}),
    ],
)
def test_the_row_alone_decides_where_an_endpoint_is(changes: dict[str, Any], expected: dict[str, Presence]) -> None:
    wanted = slots(PORT | changes).wanted

    assert wanted == {Slot(host, "d"): presence for host, presence in expected.items()}


def test_a_migration_has_a_source_and_a_destination() -> None:
    answer = slots(PORT | MIGRATING)

    assert (answer.source, answer.destination) == (Slot("a", "d"), Slot("b", "d"))
    assert slots(PORT).destination is None


def test_every_slot_that_a_row_may_have_had_is_possible_whatever_its_owner_says_now() -> None:
    assert possible_slots(PORT | MIGRATING | {"device_owner": ""}) == {Slot("a", "d"), Slot("b", "d")}
    assert possible_slots(PORT | {"device_id": ""}) == frozenset()
