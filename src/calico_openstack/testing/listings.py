"""What `nft list` says, without what packets put there."""

from __future__ import annotations

import re

_FROM_PACKETS = re.compile(r"(flags dynamic[^\n]*\n(?:\s*timeout [^\n]*\n)?)\s*elements = \{[^}]*\}\n")


def steady(listing: str) -> str:
    """The listing without the elements of dynamic sets, which come with a guest's packets and go by themselves."""
    return _FROM_PACKETS.sub(r"\1", listing)
