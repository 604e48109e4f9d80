"""Names of sets and chains: a function of what they hold, so that every process and every restart chooses
the same.

nft takes letters, digits and `_ . -` after a first letter; we stay below 128 characters.
"""

from __future__ import annotations

import hashlib
import re

from calico_openstack.felix.wanted.state import SetId

_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_LONGEST = 100


def short_hash(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def set_name(set_id: SetId, use: str, version: int) -> str:
    """`s:abc` of addresses, v4 -> `set4-s-abc`; named ports -> `ports4-n-abc`."""
    head = "set" if use == "addresses" else "ports"
    return f"{head}{version}-{_plain(set_id)}"


def _plain(text: str) -> str:
    kind, _, rest = text.partition(":")
    if _PLAIN.fullmatch(kind) and "-" not in kind and _PLAIN.fullmatch("x" + rest) and len(text) < _LONGEST:
        return f"{kind}-{rest}"
    return f"h-{short_hash(text)}"
