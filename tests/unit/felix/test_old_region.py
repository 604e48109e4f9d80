"""What a host that changed its region leaves to be deleted."""

import asyncio
from typing import cast

import pytest

from calico_openstack.etcd.aio import AsyncClient
from calico_openstack.etcd.errors import PermissionDenied
from calico_openstack.etcd.values import KeyValue, Snapshot
from calico_openstack.felix import old_region
from calico_openstack.felix.old_region import stale
from calico_openstack.model.endpoint import EndpointKey
from calico_openstack.model.keys import EndpointStatusKey, HostStatusKey, LastHostStatusKey


def endpoint(namespace: str, name: str) -> EndpointKey:
    return EndpointKey(namespace, "h", "openstack", "vm", name)


def test_only_words_about_endpoints_that_still_live_in_the_old_region_stay() -> None:
    here, there, dead = endpoint("openstack", "1"), endpoint("openstack-region-east", "2"), endpoint("openstack", "3")
    keys = [EndpointStatusKey(None, key).path for key in (here, there, dead)]
    host = [HostStatusKey(None, "h").path, LastHostStatusKey(None, "h").path]

    assert stale([*keys, *host, "/calico/felix/v2/no-region/host/h/unknown"], None, {here, there}) == [*keys[1:], *host]


def test_a_named_region_is_told_by_its_own_namespace() -> None:
    east = endpoint("openstack-region-east", "1")

    assert stale([EndpointStatusKey("east", east).path], "east", {east}) == []
    assert stale([EndpointStatusKey("west", east).path], "west", {east}) == [EndpointStatusKey("west", east).path]


class Refusing:
    """etcd that may be read and not written, as for a user without the right."""

    def __init__(self) -> None:
        self.tries = 0

    async def snapshot(self, prefix: str) -> Snapshot:
        return Snapshot([KeyValue(f"{prefix}status", b"{}", 1, 1, 1)], 1)

    async def txn(self, *_: object) -> None:
        self.tries += 1
        raise PermissionDenied("permission denied")


def test_where_keys_cannot_be_deleted_reporting_goes_on_after_some_tries(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(old_region, "_PAUSE", 0)
    client = Refusing()

    asyncio.run(old_region.leave(cast(AsyncClient, client), None, "h", set()))

    assert client.tries == 5
