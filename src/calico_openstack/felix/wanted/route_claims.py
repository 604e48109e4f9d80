"""Which interface gets a prefix that several want.

Two local endpoints may list the same allowed address pair (a VRRP address). The kernel has room for one route of a
prefix, so the interface with the highest index, the newest, wins; when it goes the next one takes over (as upstream's
route table does within one class of routes).
"""

from __future__ import annotations

from collections.abc import Iterable

from calico_openstack.model.net import Net


class RouteClaims:
    """Claims of interfaces, by index, on prefixes."""

    def __init__(self) -> None:
        self._claimants: dict[Net, set[int]] = {}
        self._claims: dict[int, frozenset[Net]] = {}

    def claim(self, ifindex: int, nets: Iterable[Net]) -> dict[Net, int | None]:
        """The interface claims exactly these prefixes now; the prefixes whose winner changed, with the new winner."""
        before, after = self._claims.get(ifindex, frozenset()), frozenset(nets)
        changed: dict[Net, int | None] = {}
        for net in before ^ after:
            was = self.winner(net)
            claimants = self._claimants.setdefault(net, set())
            if net in after:
                claimants.add(ifindex)
            else:
                claimants.discard(ifindex)
                if not claimants:
                    del self._claimants[net]
            now = self.winner(net)
            if was != now:
                changed[net] = now
        if after:
            self._claims[ifindex] = after
        else:
            self._claims.pop(ifindex, None)
        return changed

    def winner(self, net: Net) -> int | None:
        return max(self._claimants.get(net, ()), default=None)

    def won(self, ifindex: int) -> list[Net]:
        """The prefixes that this interface has now."""
        return [net for net in self._claims.get(ifindex, ()) if self.winner(net) == ifindex]

    def wants(self, ifindex: int) -> bool:
        """Whether the interface claims anything."""
        return ifindex in self._claims
