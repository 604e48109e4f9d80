"""The selector index: right answers, and work only where a label points."""

from collections.abc import Mapping

from calico_openstack.felix.calc.label_index import LabelIndex
from calico_openstack.model.selector import Selector, parse


class CountingSelector(Selector):
    """A selector that counts how often it is asked."""

    asked = 0

    def matches(self, labels: Mapping[str, str]) -> bool:
        self.asked += 1
        return super().matches(labels)


def counting(text: str) -> CountingSelector:
    return CountingSelector(parse(text).root)


class Seen:
    def __init__(self) -> None:
        self.events: list[tuple[str, str, str]] = []
        self.index: LabelIndex[str, str] = LabelIndex(
            lambda selector, item: self.events.append(("start", selector, item)),
            lambda selector, item: self.events.append(("stop", selector, item)),
        )

    def take(self) -> list[tuple[str, str, str]]:
        events, self.events = sorted(self.events), []
        return events


def test_matches_start_and_stop_as_labels_come_and_go() -> None:
    seen = Seen()
    seen.index.add_selector("web", parse("role == 'web'"))
    seen.index.set_item("a", {"role": "web"})
    seen.index.set_item("b", {"role": "db"})
    assert seen.take() == [("start", "web", "a")]

    seen.index.set_item("a", {"role": "db"})
    seen.index.set_item("b", {"role": "web"})
    assert seen.take() == [("start", "web", "b"), ("stop", "web", "a")]

    seen.index.remove_item("b")
    assert seen.take() == [("stop", "web", "b")]
    assert seen.index.count("web") == 0


def test_a_later_selector_finds_the_items_that_are_there() -> None:
    seen = Seen()
    seen.index.set_item("a", {"role": "web"})
    seen.index.set_item("b", {})

    seen.index.add_selector("none", parse("!has(role)"))
    seen.index.add_selector("any", parse("role in {'web', 'db'}"))

    assert seen.take() == [("start", "any", "a"), ("start", "none", "b")]


def test_a_selector_replaced_under_its_id_tells_only_the_difference() -> None:
    seen = Seen()
    seen.index.set_item("a", {"role": "web"})
    seen.index.set_item("b", {"role": "db"})
    seen.index.add_selector("s", parse("role == 'web'"))
    seen.take()

    seen.index.add_selector("s", parse("has(role)"))

    assert seen.take() == [("start", "s", "b")]


def test_items_without_the_rarest_label_are_not_asked_about() -> None:
    seen = Seen()
    for number in range(100):
        seen.index.set_item(f"i{number}", {"namespace": "openstack", f"group-{number}": ""})
    selector = counting("namespace == 'openstack' && has(group-7)")

    seen.index.add_selector("s", selector)

    assert list(seen.index.members("s")) == ["i7"]
    assert selector.asked == 1


def test_a_selector_that_is_asked_in_vain_moves_to_a_rarer_label() -> None:
    seen = Seen()
    selector = counting("namespace == 'openstack' && has(group-7)")
    # Added first, when no label is more common than another.
    seen.index.add_selector("s", selector)
    for number in range(1000):
        seen.index.set_item(f"i{number}", {"namespace": "openstack", f"group-{number}": ""})

    assert list(seen.index.members("s")) == ["i7"]
    assert selector.asked < 200


def test_an_or_hangs_on_a_label_of_each_branch() -> None:
    seen = Seen()
    selector = counting("role == 'web' || (env == 'dev' && has(x))")
    seen.index.add_selector("s", selector)

    seen.index.set_item("other", {"colour": "red"})
    assert selector.asked == 0
    seen.index.set_item("web", {"role": "web"})
    seen.index.set_item("dev", {"env": "dev", "x": ""})

    assert sorted(seen.index.members("s")) == ["dev", "web"]
