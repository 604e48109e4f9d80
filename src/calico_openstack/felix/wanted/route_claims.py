"""Which interface gets a prefix that several want.

Two local endpoints may list the same allowed address pair (a VRRP address). The kernel has room for one route of a
prefix. The interface whose guest claimed the address last (`prefer`) has it, while it wants it. If none did, the one
with the highest index, the newest; when it goes the next one takes over (as upstream's route table does within one
class of routes).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from calico_openstack.model.net import Net


class RouteClaims:
    """Claims of interfaces, by index, on prefixes."""

    def __init__(self) -> None:
        self._claimants: dict[Net, set[int]] = {}
        self._claims: dict[int, frozenset[Net]] = {}
        self._preferred: dict[Net, int] = {}

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
                if self._preferred.get(net) == ifindex:
                    del self._preferred[net]
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

    def prefer(self, net: Net, ifindex: int) -> None:
        """The guest there has claimed the address; or, at the start, the kernel has a route that says that it did."""
        self._preferred[net] = ifindex

    def forget(self, is_claimable: Callable[[Net], bool]) -> None:
        """Preferences at the start are for addresses that several want, or may want: of any other the newest claimant
        is the right one."""
        self._preferred = {
            net: ifindex for net, ifindex in self._preferred.items() if self.is_disputed(net) or is_claimable(net)
        }

    def is_preferred(self, net: Net, ifindex: int) -> bool:
        """Whether the address is known to be claimed there."""
        return self._preferred.get(net) == ifindex

    def is_disputed(self, net: Net) -> bool:
        return len(self._claimants.get(net, ())) > 1

    def claimants(self, net: Net) -> frozenset[int]:
        return frozenset(self._claimants.get(net, ()))

    def wanted(self, ifindex: int) -> frozenset[Net]:
        """The prefixes that this interface claims, won or not."""
        return self._claims.get(ifindex, frozenset())

    def winner(self, net: Net) -> int | None:
        claimants = self._claimants.get(net, ())
        preferred = self._preferred.get(net)
        return preferred if preferred in claimants else max(claimants, default=None)

    def won(self, ifindex: int) -> list[Net]:
        """The prefixes that this interface has now."""
        return [net for net in self._claims.get(ifindex, ()) if self.winner(net) == ifindex]

    def claims(self, ifindex: int, net: Net) -> bool:
        """Whether the interface claims that prefix."""
        return net in self._claims.get(ifindex, ())

    def wants(self, ifindex: int) -> bool:
        """Whether the interface claims anything."""
        return ifindex in self._claims
