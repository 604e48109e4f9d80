"""Listings of nft are compared without what packets put there."""

from calico_openstack.testing.listings import steady

ABOVE = """\
table inet calico {
  set taps {
    type ifname
    elements = { "tapone" }
  }

  set discovery-rate {
    flags dynamic,timeout
    timeout 1m
"""
FROM_PACKETS = """\
    elements = { "tapone" limit rate over 200/second burst 400 packets expires 57s168ms,
                 "taptwo" limit rate over 200/second burst 400 packets expires 2s }
"""
BELOW = """\
  }
}
"""


def test_elements_of_dynamic_sets_are_left_out_and_others_not() -> None:
    assert steady(ABOVE + FROM_PACKETS + BELOW) == ABOVE + BELOW
    # As `nft -s` prints them.
    timeless = FROM_PACKETS.replace(" expires 57s168ms", "").replace(" expires 2s", "")
    assert steady(ABOVE + timeless + BELOW) == ABOVE + BELOW
