"""placeholder"""

from collections.abc import Iterator

from calico_openstack.felix.ruleset.match import Matcher, Statements
from calico_openstack.felix.wanted.state import WantedRule


def merged_run(run: list[WantedRule], direction: str, matcher: Matcher) -> Iterator[Statements]:
    for rule in run:
        yield from matcher.matches(rule)
