"""Which endpoints have come from another host, whichever of the two events is first."""

from calico_openstack.felix.calc.homes import REMEMBERED, Homes
from calico_openstack.model.endpoint import EndpointKey

THERE = EndpointKey("openstack", "there", "openstack", "vm", "port")
HERE = THERE._replace(host="here")


def told(*events: tuple[EndpointKey, bool]) -> set[EndpointKey]:
    homes = Homes("here")
    for key, exists in events:
        homes.note(key, exists)
    came = homes.take()
    assert homes.take() == set()
    return came


def test_a_port_that_leaves_another_host_and_appears_here_has_come() -> None:
    assert told((THERE, True), (THERE, False), (HERE, True)) == {HERE}
    assert told((THERE, True), (HERE, True), (THERE, False)) == {HERE}


def test_one_that_boots_here_or_is_written_again_or_leaves_has_not() -> None:
    assert told((HERE, True), (HERE, True)) == set()
    assert told((THERE, False), (HERE._replace(endpoint="another"), True)) == set()
    assert told((HERE, True), (HERE, False), (THERE, True)) == set()
    assert told((THERE, False), (HERE, True), (HERE, False)) == set()
    assert told((THERE, True), (HERE, True)) == set()


def test_it_comes_once() -> None:
    homes = Homes("here")
    homes.note(THERE, False)
    homes.note(HERE, True)
    assert homes.take() == {HERE}

    homes.note(HERE, True)
    homes.note(HERE, False)
    homes.note(HERE, True)

    assert homes.take() == set()


def test_what_went_long_ago_is_forgotten() -> None:
    homes = Homes("here")
    for number in range(REMEMBERED + 1):
        homes.note(THERE._replace(endpoint=f"port{number}"), False)

    homes.note(HERE._replace(endpoint="port0"), True)
    homes.note(HERE._replace(endpoint="port1"), True)

    assert homes.take() == {HERE._replace(endpoint="port1")}
