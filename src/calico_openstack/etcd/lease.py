"""A key that lives only as long as its writer: host status.

`Kept.write` puts the value under a lease of `ttl` seconds and renews the lease, so a process that stops writing
loses its key `ttl` seconds later. A lease that ran out in between (etcd was away for longer) is replaced by a
new one in the same call. Upstream takes a new lease for each write; one renewed lease reads the same and leaves
none behind.
"""

from __future__ import annotations

from calico_openstack.etcd import calls
from calico_openstack.etcd.aio import AsyncClient
from calico_openstack.etcd.blocking import BlockingClient
from calico_openstack.etcd.errors import LeaseGone
from calico_openstack.etcd.session import Session
from calico_openstack.etcd.steps import Steps


class Kept:
    """The core: one key, one lease."""

    def __init__(self, key: str, ttl: int) -> None:
        self.key = key
        self.ttl = ttl
        self.lease = 0

    def write(self, session: Session, value: bytes, timeout: float | None) -> Steps[int]:
        if self.lease:
            try:
                yield from calls.keep_alive(session, self.lease, timeout)
                return (yield from calls.put(session, self.key, value, self.lease, timeout))
            except LeaseGone:
                self.lease = 0
        self.lease = yield from calls.grant(session, self.ttl, timeout)
        return (yield from calls.put(session, self.key, value, self.lease, timeout))

    def drop(self, session: Session, timeout: float | None) -> Steps[None]:
        lease, self.lease = self.lease, 0
        if lease:
            yield from calls.revoke(session, lease, timeout)


class AsyncKeptKey:
    """For asyncio; one writer at a time."""

    def __init__(self, client: AsyncClient, key: str, ttl: int) -> None:
        self._client = client
        self._kept = Kept(key, ttl)

    async def write(self, value: bytes, timeout: float | None = None) -> int:  # noqa: ASYNC109
        """Store the value for another `ttl` seconds; the store revision. Call it again well before that."""
        return await self._client.run(self._kept.write(self._client.session, value, timeout))

    async def drop(self, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """Remove the key now."""
        await self._client.run(self._kept.drop(self._client.session, timeout))


class BlockingKeptKey:
    """For threads; one writer at a time."""

    def __init__(self, client: BlockingClient, key: str, ttl: int) -> None:
        self._client = client
        self._kept = Kept(key, ttl)

    def write(self, value: bytes, timeout: float | None = None) -> int:
        """Store the value for another `ttl` seconds; the store revision. Call it again well before that."""
        return self._client.run(self._kept.write(self._client.session, value, timeout))

    def drop(self, timeout: float | None = None) -> None:
        """Remove the key now."""
        self._client.run(self._kept.drop(self._client.session, timeout))
