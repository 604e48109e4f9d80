"""Own labels win over profiles', the first profile over later ones."""

from collections.abc import Mapping

from calico_openstack.felix.calc.inherited_labels import InheritedLabels


def collected() -> tuple[InheritedLabels[str], dict[str, Mapping[str, str] | None]]:
    told: dict[str, Mapping[str, str] | None] = {}
    return InheritedLabels(told.__setitem__), told


def test_own_labels_win_and_the_first_profile_wins_over_the_second() -> None:
    labels, told = collected()
    labels.set_profile("one", {"a": "1", "b": "1", "c": "1"})
    labels.set_profile("two", {"a": "2", "b": "2", "d": "2"})

    labels.set_item("vm", {"a": "own"}, ("one", "two"))

    assert told["vm"] == {"a": "own", "b": "1", "c": "1", "d": "2"}


def test_a_profile_that_changes_or_goes_touches_those_that_list_it() -> None:
    labels, told = collected()
    labels.set_item("listing", {}, ("one",))
    labels.set_item("other", {"x": "y"}, ())
    told.clear()

    labels.set_profile("one", {"a": "1"})
    assert told == {"listing": {"a": "1"}}

    labels.set_profile("one", {})
    assert told == {"listing": {}}


def test_an_item_that_goes_is_told_once() -> None:
    labels, told = collected()
    labels.set_item("vm", {"a": "1"}, ())

    labels.remove_item("vm")
    assert told == {"vm": None}

    told.clear()
    labels.remove_item("vm")
    assert told == {}
