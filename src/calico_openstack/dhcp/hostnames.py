"""Which names may be written into dnsmasq's files.

A line of a hosts file is a list of words that dnsmasq sorts by their looks: a word of digits is a lease time, `ignore`
switches the host off, a word with a bad character spoils the line and costs the guest its address. So a name is either
surely a name, or it is not written.
"""

from __future__ import annotations

import re

from calico_openstack.model.net import Net

_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\Z")
# dnsmasq option.c, one_opt(), LOPT_BANK: words that are not taken as a name.
_NOT_A_NAME = re.compile(r"(\d+[smhdw]?|ignore|infinite)\Z", re.IGNORECASE)
_DOMAIN_LIMIT = 253


def is_hostname(text: str) -> bool:
    """One DNS label (RFC 1123) that dnsmasq cannot take for anything else."""
    return bool(_LABEL.match(text)) and not _NOT_A_NAME.match(text)


def is_domain(text: str) -> bool:
    """DNS labels joined by dots, without a final dot."""
    return 0 < len(text) <= _DOMAIN_LIMIT and all(_LABEL.match(label) for label in text.split("."))


def split_fqdn(fqdn: str) -> tuple[str, str]:
    """`web-1.example.org.` as its host name and its domain (empty if there is none)."""
    name, _, domain = fqdn.rstrip(".").partition(".")
    return name, domain


def default_hostname(address: Net) -> str:
    """What Neutron calls a port without a name: `host-10-65-0-11` (neutron dns_db)."""
    return f"host-{re.sub('[.:]', '-', address.address)}".rstrip("-")
