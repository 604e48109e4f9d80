"""The ruleset that keeps taps shut from boot until Felix speaks.

It lives in a table of its own, so that Felix's first transaction can delete it and create the real one in
one step. Loaded by a unit ordered before libvirt (packaging/nft/calico-boot.nft is this text for the
default prefixes). Postrouting covers what the host itself sends and what it forwards; prerouting all that
comes from a guest.
"""

from __future__ import annotations

from calico_openstack.felix.ruleset import fields
from calico_openstack.felix.ruleset.named_sets import BOOT
from calico_openstack.felix.ruleset.objects import Chain, Hook, Rule, Ruleset, TableContent
from calico_openstack.felix.ruleset.statements import DROP, Equal
from calico_openstack.felix.ruleset.text import print_ruleset

HEADER = """\
#!/usr/sbin/nft -f
# Keeps every guest interface shut from boot until Felix speaks: nothing goes to, from or through a tap.
#
# Load it before libvirt starts any guest. Felix's first transaction deletes this table and creates its own
# in one step, so there is no instant with neither.
#
# This is calico_openstack.felix.ruleset.boot for InterfacePrefix {prefixes}.
"""


def boot_ruleset(tap_prefixes: tuple[str, ...] = ("tap",)) -> Ruleset:
    def shut(interface: fields.Field) -> tuple[Rule, ...]:
        return tuple(Rule((Equal(interface, prefix.encode()), DROP)) for prefix in tap_prefixes)

    chains = [
        Chain("prerouting", shut(fields.IN), Hook("filter", "prerouting", -310)),
        Chain("postrouting", shut(fields.OUT), Hook("filter", "postrouting", 310)),
    ]
    return {BOOT: TableContent({chain.name: chain for chain in chains})}


def boot_text(tap_prefixes: tuple[str, ...] = ("tap",)) -> str:
    """For `nft -f`; loading it twice is the same as once."""
    table = f"table {BOOT.family} {BOOT.name}"
    header = HEADER.format(prefixes=",".join(tap_prefixes))
    return f"{header}{table}\ndelete {table}\n{print_ruleset(boot_ruleset(tap_prefixes))}"
