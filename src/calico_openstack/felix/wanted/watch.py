"""What is to be listened for on a tap: frames by which a guest tells that something is different from what is known."""

from __future__ import annotations

from typing import NamedTuple

from calico_openstack.model.net import Net


class Watch(NamedTuple):
    """`mac`: only frames of this sender count; None for any. `arriving`: the guest is not known to be here yet, and
    these are its addresses. `disputed`: addresses that another guest of this host has, and this one may claim.
    """

    mac: str | None
    arriving: tuple[Net, ...] | None = None
    disputed: tuple[Net, ...] = ()

    def __bool__(self) -> bool:
        return self.arriving is not None or bool(self.disputed)


class Heard(NamedTuple):
    """`claimed`: addresses that the guest says are its own now. `running`: it speaks, so it is here."""

    claimed: frozenset[Net] = frozenset()
    running: bool = False
