"""Which endpoints of this host have just come from another host without a live migration: evacuated, or moved cold.

The host that they came from may be dead, and then others remember its routes for the hold time of BGP. Neutron removes
the endpoint there and makes the one here, or the other way round, within a moment. Unlike everything else in this room
the answer depends on what happened and not only on what is; so it stays outside the graph.
"""

from __future__ import annotations

from collections import OrderedDict

from calico_openstack.model.endpoint import EndpointKey

REMEMBERED = 10_000
"""Endpoints that went from other hosts; most of them for ever."""


class Homes:
    """Endpoints come and go on all hosts. Endpoints of `hostname` are at home here."""

    def __init__(self, hostname: str) -> None:
        self._hostname = hostname
        self._left: OrderedDict[EndpointKey, None] = OrderedDict()
        self._here: set[EndpointKey] = set()
        self._came: set[EndpointKey] = set()

    def note(self, key: EndpointKey, exists: bool) -> None:
        """One event of an endpoint, wherever it is."""
        if exists and key.host != self._hostname:
            return
        port = key._replace(host="")
        if key.host == self._hostname:
            if not exists:
                self._here.discard(port)
                self._came.discard(key)
            elif port not in self._here:
                self._here.add(port)
                if port in self._left:
                    del self._left[port]
                    self._came.add(key)
        elif port in self._here:
            self._came.add(key._replace(host=self._hostname))
        else:
            self._left[port] = None
            if len(self._left) > REMEMBERED:
                self._left.popitem(last=False)

    def take(self) -> set[EndpointKey]:
        """Those that have come since this was asked last."""
        came, self._came = self._came, set()
        return came
