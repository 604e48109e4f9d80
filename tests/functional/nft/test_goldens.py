"""Every golden text is read by nft itself, and a bad one is refused."""

from collections.abc import Callable
from pathlib import Path

import pytest

from calico_openstack.felix.ruleset.boot import boot_text

pytestmark = pytest.mark.root
GOLDEN = Path(__file__).parents[2] / "unit" / "felix" / "ruleset" / "golden"


def test_nft_reads_the_whole_ruleset_and_the_change_to_it(nft: Callable[..., str]) -> None:
    nft("-c", "-f", str(GOLDEN / "two-guests.nft"))
    nft("-f", str(GOLDEN / "two-guests.nft"))
    nft("-c", "-f", str(GOLDEN / "change.nft"))
    nft("-f", str(GOLDEN / "change.nft"))

    assert '"tap3" : jump' in nft("list", "map", "inet", "calico", "egress")


def test_nft_reads_and_lists_limits_pools_and_translation(nft: Callable[..., str]) -> None:
    nft("-c", "-f", str(GOLDEN / "limits.nft"))
    nft("-f", str(GOLDEN / "limits.nft"))

    assert "limit rate over 2000/second burst 50 packets drop" in nft("list", "ruleset")


def test_nft_reads_and_lists_host_endpoints_and_the_change_of_one(nft: Callable[..., str]) -> None:
    nft("-f", str(GOLDEN / "host-endpoints.nft"))
    nft("-c", "-f", str(GOLDEN / "host-endpoints-change.nft"))
    nft("-f", str(GOLDEN / "host-endpoints-change.nft"))

    assert '"eth1" : jump' in nft("list", "map", "inet", "calico", "host-ingress")
    assert "notrack" in nft("list", "chain", "inet", "calico", "raw-prerouting")


def test_nft_refuses_a_ruleset_that_jumps_nowhere(nft: Callable[..., str]) -> None:
    text = (GOLDEN / "two-guests.nft").read_text().replace("goto link-local", "goto nowhere")

    with pytest.raises(AssertionError, match="nowhere"):
        nft("-c", "-f", "-", stdin=text)


def test_the_boot_ruleset_may_be_loaded_twice(nft: Callable[..., str]) -> None:
    nft("-f", "-", stdin=boot_text(("tap", "cali")))
    nft("-f", "-", stdin=boot_text(("tap", "cali")))

    assert nft("list", "ruleset").count('"cali*" drop') == 2
