"""Who leads, for how long, and what a former leader can still do. Clock and store are pretended."""

from __future__ import annotations

import os
import time

import pytest

from calico_openstack.etcd.election import Election
from calico_openstack.etcd.values import Put
from calico_openstack.testing.fake_etcd import FakeEtcd

KEY = "/calico/openstack/v2/no-region/neutron_election"


class Clock:
    """One clock for the candidates and for the leases of the store."""

    def __init__(self, fake: FakeEtcd) -> None:
        self.fake = fake
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds
        self.fake.advance(seconds)


class Cluster:
    def __init__(self) -> None:
        self.fake = FakeEtcd()
        self.clock = Clock(self.fake)
        self.changes: list[tuple[str, bool]] = []

    def candidate(self, name: str, runs: bool = True) -> Election:
        return Election(
            self.fake.blocking(timeout=0.3),
            KEY,
            name,
            clock=self.clock,
            runs=lambda pid: runs,
            on_change=lambda leads: self.changes.append((name, leads)),
        )


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


def test_the_first_candidate_leads_and_writes_name_and_process_as_upstream_does(cluster: Cluster) -> None:
    one, two = cluster.candidate("one"), cluster.candidate("two")
    one.step()
    two.step()

    assert (one.leads, two.leads) == (True, False)
    kv = cluster.fake.blocking().get(KEY)
    assert kv is not None
    assert kv.value == f"one:{os.getpid()}".encode()
    assert kv.lease != 0


def test_a_leader_that_renews_leads_on_and_others_wait(cluster: Cluster) -> None:
    one, two = cluster.candidate("one"), cluster.candidate("two")
    for _ in range(20):
        one.step()
        two.step()
        cluster.clock.advance(10)

    assert (one.leads, two.leads) == (True, False)
    assert cluster.changes == [("one", True)]


def test_a_leader_that_hears_nothing_stands_down_by_itself_before_another_can_lead(cluster: Cluster) -> None:
    one, two = cluster.candidate("one"), cluster.candidate("two")
    one.step()
    for _ in range(61):
        two.step()
        assert not (one.leads and two.leads)
        cluster.clock.advance(1)
    two.step()

    assert (one.leads, two.leads) == (False, True)


def test_a_leader_stands_down_well_before_its_lease_ends_when_etcd_is_away(cluster: Cluster) -> None:
    one = cluster.candidate("one")
    one.step()
    cluster.fake.stop()
    cluster.clock.advance(30)
    one.step()
    assert one.leads

    cluster.clock.advance(11)

    assert not one.leads
    one.step()
    assert cluster.changes == [("one", True), ("one", False)]


def test_a_write_of_a_former_leader_fails_at_the_store(cluster: Cluster) -> None:
    one, two = cluster.candidate("one"), cluster.candidate("two")
    one.step()
    term = one.leadership
    assert term is not None
    client = cluster.fake.blocking()
    assert client.txn([term.fence], [Put("/x", b"as leader")]).succeeded

    cluster.clock.advance(61)
    two.step()

    assert not client.txn([term.fence], [Put("/x", b"too late")]).succeeded


def test_a_leader_whose_key_was_taken_away_notices_at_its_next_step(cluster: Cluster) -> None:
    one = cluster.candidate("one")
    one.step()
    cluster.fake.blocking().delete(KEY)
    one.step()

    assert not one.leads


def test_resigning_lets_another_lead_at_once(cluster: Cluster) -> None:
    one, two = cluster.candidate("one"), cluster.candidate("two")
    one.step()
    one.stop()
    two.step()

    assert (one.leads, two.leads) == (False, True)


@pytest.mark.parametrize(("holder", "runs", "taken"), [("one:999", False, True), ("one:999", True, False)])
def test_a_key_of_a_dead_process_of_this_host_is_taken_over_and_that_of_a_live_one_is_not(
    cluster: Cluster, holder: str, runs: bool, taken: bool
) -> None:
    cluster.fake.blocking().put(KEY, holder.encode())
    one = cluster.candidate("one", runs=runs)
    one.step()

    assert one.leads is taken


def test_a_key_with_a_number_that_no_process_can_have_is_taken_over(cluster: Cluster) -> None:
    cluster.fake.blocking().put(KEY, b"one:99999999999999999999")
    one = Election(cluster.fake.blocking(), KEY, "one")
    one.step()

    assert one.leads


@pytest.mark.parametrize("holder", ["other:999", "nonsense", ""])
def test_a_key_of_another_host_is_left_alone_even_if_no_such_process_runs_here(cluster: Cluster, holder: str) -> None:
    cluster.fake.blocking().put(KEY, holder.encode())
    one = cluster.candidate("one", runs=False)
    one.step()

    assert not one.leads


def test_a_lost_answer_to_the_winning_transaction_does_not_cost_the_leadership(cluster: Cluster) -> None:
    one = cluster.candidate("one")
    # The first two calls are the get and the grant; the answer of the third is lost and it is sent again.
    cluster.fake._faults.clear()
    original = cluster.fake.call
    lost = []

    def lose_first_txn(call):  # type: ignore[no-untyped-def]
        if call.method.path.endswith("/Txn") and not lost:
            lost.append(call)
            cluster.fake.lose()
        return original(call)

    cluster.fake.call = lose_first_txn  # type: ignore[method-assign]
    one.step()

    assert lost
    assert one.leads


def test_waiting_for_a_term_that_ran_out_unnoticed_really_waits(cluster: Cluster) -> None:
    one = cluster.candidate("one")
    one.step()
    cluster.clock.advance(41)
    began = time.monotonic()

    assert not one.wait(0.1)
    assert time.monotonic() - began >= 0.1


def test_the_thread_campaigns_and_tells(cluster: Cluster) -> None:
    one = Election(cluster.fake.blocking(), KEY, "one")
    one.start()

    assert one.wait(10)
    one.stop()
    assert not one.leads
    assert cluster.fake.blocking().get(KEY) is None
