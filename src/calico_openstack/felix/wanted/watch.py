"""What is to be listened for on a tap: frames by which a guest tells that something is different from what is known."""

from __future__ import annotations

from typing import NamedTuple

from calico_openstack.model.net import Net


class Watch(NamedTuple):
    """`mac`: only frames of this sender count; None for any. `arriving`: the guest is not known to be here yet, and
    these are its addresses. `claimable`: addresses that it may claim, because it shares them with others or could.
    """

    mac: str | None
    arriving: tuple[Net, ...] | None = None
    claimable: tuple[Net, ...] = ()

    def __bool__(self) -> bool:
        return self.arriving is not None or bool(self.claimable)


class Heard(NamedTuple):
    """`claimed`: addresses that the guest says are its own now. `running`: it speaks, so it is here."""

    claimed: frozenset[Net] = frozenset()
    running: bool = False
