"""The phases of a live migration, as a table; and that nothing but time and news moves them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calico_openstack.felix.wanted.migration import FAREWELL, HESITATION, Migrations, Phase
from calico_openstack.felix.wanted.state import Changes, Role, WantedEndpoint
from calico_openstack.model.endpoint import EndpointKey

KEY = EndpointKey("openstack", "h", "openstack", "vm", "port")
CONVERGENCE, AFTERGLOW = 30.0, 120.0
BASE, TARGET, LIVE, TIME_WAIT = Phase.BASE, Phase.TARGET, Phase.LIVE, Phase.TIME_WAIT


class Endpoint:
    """One endpoint's phases; `now` goes on by hand."""

    def __init__(self, role: Role = "none", elevated: bool = False) -> None:
        self.now = 100.0
        self.migrations = Migrations(CONVERGENCE, AFTERGLOW)
        self.role(role, elevated)

    @property
    def phase(self) -> Phase:
        return self.migrations.phase(KEY)

    def role(self, role: Role, elevated: bool = False) -> Phase:
        endpoint = WantedEndpoint(key=KEY, interface="tap1", role=role)
        self.migrations.update(Changes(endpoints={KEY: endpoint}), self.now, lambda _: elevated)
        return self.phase

    def seen(self) -> Phase:
        self.migrations.arrive(KEY, self.now)
        return self.phase

    def later(self, seconds: float) -> Phase:
        self.now += seconds
        self.migrations.expire(self.now)
        return self.phase

    def moves_in(self) -> Phase:
        self.migrations.update(Changes(came={KEY}), self.now)
        return self.phase

    def gone(self) -> Phase:
        self.migrations.update(Changes(endpoints_removed={KEY}), self.now)
        return self.phase


@pytest.mark.conformance("R6")
def test_a_target_is_live_when_the_guest_is_seen_and_normal_a_while_after_the_migration() -> None:
    endpoint = Endpoint("target")
    assert endpoint.phase is TARGET

    assert endpoint.seen() is LIVE
    assert endpoint.later(3600) is LIVE
    assert endpoint.role("none") is TIME_WAIT
    assert endpoint.migrations.wake_at() == endpoint.now + CONVERGENCE
    assert endpoint.later(CONVERGENCE - 1) is TIME_WAIT
    assert endpoint.later(1) is BASE
    assert endpoint.migrations.wake_at() is None


@pytest.mark.conformance("R7")
def test_a_guest_that_never_spoke_is_announced_a_second_after_its_migration() -> None:
    endpoint = Endpoint("target")

    assert endpoint.role("none") is TARGET
    assert endpoint.later(HESITATION) is TIME_WAIT
    assert endpoint.later(CONVERGENCE) is BASE


def test_a_guest_that_speaks_within_that_second_is_announced_at_once() -> None:
    endpoint = Endpoint("target")
    endpoint.role("none")

    assert endpoint.seen() is TIME_WAIT
    assert endpoint.later(HESITATION) is TIME_WAIT
    assert endpoint.later(CONVERGENCE - HESITATION) is BASE


@pytest.mark.conformance("R8")
def test_a_cancelled_migration_never_gets_routes_whichever_document_goes_first() -> None:
    endpoint = Endpoint("target")

    assert endpoint.role("none") is TARGET
    assert endpoint.gone() is BASE
    assert endpoint.migrations.wake_at() is None


@pytest.mark.conformance("R9")
@pytest.mark.parametrize("wait", [0.0, 10.0])
def test_a_host_that_the_guest_leaves_at_once_again_is_a_source_without_a_timer(wait: float) -> None:
    endpoint = Endpoint("target")
    endpoint.seen()
    endpoint.role("none")
    endpoint.later(wait)

    assert endpoint.role("source") is BASE
    assert endpoint.migrations.wake_at() is None
    assert endpoint.role("none") is BASE
    assert endpoint.role("target") is TARGET
    assert endpoint.later(CONVERGENCE) is TARGET


@pytest.mark.conformance("R10")
def test_an_endpoint_that_was_there_before_its_migration_becomes_a_target() -> None:
    endpoint = Endpoint("none")
    assert endpoint.phase is BASE

    assert endpoint.role("target") is TARGET


@pytest.mark.parametrize(
    ("role", "elevated", "phase"),
    [
        ("target", True, LIVE),
        ("target", False, TARGET),
        ("none", True, TIME_WAIT),
        ("none", False, BASE),
        ("source", True, BASE),
        ("source", False, BASE),
    ],
)
def test_a_new_process_finds_the_phase_by_the_routes_of_the_old_one(role: Role, elevated: bool, phase: Phase) -> None:
    endpoint = Endpoint(role, elevated)

    assert endpoint.phase is phase
    assert (endpoint.migrations.wake_at() is not None) is (phase is TIME_WAIT)


@pytest.mark.parametrize("seen", [True, False])
def test_a_migration_that_is_written_anew_goes_on_where_it_was(seen: bool) -> None:
    endpoint = Endpoint("target")
    if seen:
        endpoint.seen()
    endpoint.role("none")
    endpoint.later(HESITATION)
    assert endpoint.phase is TIME_WAIT

    assert endpoint.role("target") is (LIVE if seen else TARGET)
    assert endpoint.migrations.wake_at() is None


def test_a_guest_that_is_seen_where_it_lives_changes_nothing() -> None:
    assert Endpoint("none").seen() is BASE
    assert Endpoint("source").seen() is BASE


@pytest.mark.parametrize(
    ("roles", "wait", "departed"),
    [
        (("source",), 0.0, True),
        (("source", "none"), FAREWELL - 1, True),
        (("source", "none"), FAREWELL, False),
        (("none",), 0.0, False),
        (("target",), 0.0, False),
    ],
)
def test_who_goes_after_being_a_source_has_departed(roles: tuple[Role, ...], wait: float, departed: bool) -> None:
    endpoint = Endpoint()
    for role in roles:
        endpoint.role(role)
    endpoint.later(wait)
    endpoint.gone()

    assert endpoint.migrations.has_departed(KEY) is departed
    endpoint.migrations.update(Changes(), endpoint.now)
    assert not endpoint.migrations.has_departed(KEY)


def test_who_moves_in_without_a_migration_is_elevated_until_its_old_host_is_forgotten() -> None:
    endpoint = Endpoint("none")
    assert endpoint.moves_in() is TIME_WAIT
    assert endpoint.later(AFTERGLOW - 1) is TIME_WAIT
    assert endpoint.later(1) is BASE


def test_a_source_that_is_left_alone_again_is_as_before() -> None:
    """Its target goes when the migration is called off, before or after the migration itself."""
    endpoint = Endpoint("source")
    assert endpoint.moves_in() is BASE
    endpoint.role("none")
    assert endpoint.moves_in() is BASE


def test_a_target_whose_source_has_gone_need_not_be_seen() -> None:
    endpoint = Endpoint("target")
    assert endpoint.moves_in() is TARGET
    endpoint.role("none")
    assert endpoint.moves_in() is TIME_WAIT
    assert endpoint.later(CONVERGENCE) is BASE


steps = st.lists(
    st.one_of(
        st.sampled_from(["seen", "gone", "moves in"]),
        st.sampled_from(["none", "source", "target"]).map(lambda role: ("role", role)),
        st.floats(0, 60).map(lambda seconds: ("later", seconds)),
    ),
    max_size=12,
)


@given(steps)
def test_whatever_happened_a_guest_without_migration_comes_to_rest_and_no_source_is_elevated(steps: list) -> None:  # type: ignore[type-arg]
    endpoint = Endpoint()
    for step in steps:
        match step:
            case ("role", role):
                endpoint.role(role)
                assert role != "source" or endpoint.phase is BASE
                assert role != "target" or endpoint.phase in (TARGET, LIVE)
            case ("later", seconds):
                endpoint.later(seconds)
            case "seen":
                endpoint.seen()
                assert endpoint.phase is not TARGET
            case "gone":
                endpoint.gone()
            case "moves in":
                endpoint.moves_in()

    endpoint.role("none")
    endpoint.later(HESITATION)
    endpoint.later(max(CONVERGENCE, AFTERGLOW))
    assert endpoint.phase is BASE
    assert endpoint.migrations.wake_at() is None


@given(steps)
def test_a_process_that_starts_after_any_step_finds_the_same_phase_by_the_routes_alone(steps: list) -> None:  # type: ignore[type-arg]
    endpoint, role = Endpoint(), "none"
    for step in steps:
        match step:
            case ("role", str(role)):
                endpoint.role(role)  # type: ignore[arg-type]
            case ("later", seconds):
                endpoint.later(seconds)
            case "seen":
                endpoint.seen()
            case "moves in":
                endpoint.moves_in()
            case _:
                endpoint.gone()
                role = "none"
                continue

        fresh = Endpoint(role, elevated=endpoint.phase.elevated)  # type: ignore[arg-type]
        # A target that hesitates has no routes and no migration any more: the new process need not hesitate.
        hesitates = endpoint.phase is TARGET and role == "none"
        assert fresh.phase is (BASE if hesitates else endpoint.phase)
