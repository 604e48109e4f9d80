from pathlib import Path

from calico_openstack.dhcp.command import Place, command4, command6
from calico_openstack.dhcp.serving import Serving

PLACE = Place(Path("/run/calico/v4"))


def test_the_command_lines_know_no_network_and_no_port() -> None:
    four, six = command4("/usr/sbin/dnsmasq", PLACE, Serving()), command6("/usr/sbin/dnsmasq", PLACE, Serving(), None)

    assert four[0] == six[0] == "/usr/sbin/dnsmasq"
    assert [word for word in four if word.startswith("--dhcp-range")] == [
        "--dhcp-range=1.0.0.0,static,128.0.0.0,86400s",
        "--dhcp-range=128.0.0.0,static,128.0.0.0,86400s",
    ]
    assert [word for word in six if word.startswith("--dhcp-range")] == [
        "--dhcp-range=::,static,off-link,constructor:tap*,64,86400s"
    ]
    for command in (four, six):
        assert {"--port=0", "--leasefile-ro", "--dhcp-authoritative", "--dhcp-ignore=tag:!known"} <= set(command)


def test_every_host_of_a_region_is_the_same_server_to_a_guest() -> None:
    def duid(place: Place, region: str | None) -> list[str]:
        return [word for word in command6("d", place, Serving(), region) if word.startswith("--dhcp-duid")]

    assert duid(PLACE, None) == duid(Place(Path("/elsewhere")), None)
    assert duid(PLACE, None) != duid(PLACE, "europe")


def test_renewal_times_are_sent_if_set() -> None:
    four = command4("d", PLACE, Serving(renewal=600, rebinding=900))

    assert {"--dhcp-option-force=option:T1,600", "--dhcp-option-force=option:T2,900"} <= set(four)
