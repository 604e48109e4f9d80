"""The collector of cycles keeps out of the way, and comes back."""

import gc
import weakref

import pytest

from calico_openstack.daemon import garbage


class Knot:
    """In a cycle with itself."""

    def __init__(self) -> None:
        self.me = self


def test_the_collector_pauses_and_goes_on_also_after_a_failure() -> None:
    def fail() -> None:
        with garbage.paused():
            assert not gc.isenabled()
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    gc.unfreeze()

    assert gc.isenabled()


def test_who_had_switched_it_off_finds_it_off() -> None:
    gc.disable()
    try:
        with garbage.paused():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_what_was_built_up_in_a_pause_is_not_looked_at_afterwards() -> None:
    kept: list[list[int]] = []
    try:
        with garbage.paused():
            kept += [[number] for number in range(1000)]
        assert not any(one is kept[7] for one in gc.get_objects())
    finally:
        gc.unfreeze()
    assert any(one is kept[7] for one in gc.get_objects())


def test_what_has_settled_is_not_looked_at_again_but_new_cycles_are_freed() -> None:
    garbage.settle()
    try:
        assert gc.get_freeze_count() > 0
        before = len(gc.get_objects())
        knot = weakref.ref(Knot())
        assert len(gc.get_objects()) < before + 100
        gc.collect()
        assert knot() is None
    finally:
        gc.unfreeze()
