from pathlib import Path

import pytest

from calico_openstack.sandbox.layout import Layout
from calico_openstack.sandbox.plan import Circumstances, plan
from calico_openstack.sandbox.secrets import placeholder_secrets
from calico_openstack.sandbox.spec import Mode, Spec, spread
from calico_openstack.sandbox.steps import Plan, Run, Start, Wait, Write, describe


def planned(mode: Mode = "full", template: bool = True, hosts: int = 2, guests: int = 4) -> Plan:
    spec = Spec(mode=mode, hosts=hosts, guests=spread(guests, hosts))
    return plan(spec, Layout(spec.name), Circumstances(placeholder_secrets(), "<hash>", Path("/t"), template))


@pytest.mark.parametrize("mode", ["full", "light"])
@pytest.mark.parametrize("template", [True, False])
@pytest.mark.parametrize("hosts", [1, 8])
def test_every_stage_waits_only_for_stages_that_can_be_done_before(mode: Mode, template: bool, hosts: int) -> None:
    stages = list(planned(mode, template, hosts))
    done: set[str] = set()
    while stages:
        ready = [stage for stage in stages if done.issuperset(stage.needs)]
        assert ready, f"nothing can start after {sorted(done)}: {[stage.title for stage in stages]}"
        done |= {stage.title for stage in ready}
        stages = [stage for stage in stages if stage.title not in done]


def test_no_two_stages_have_the_same_title() -> None:
    titles = [stage.title for stage in planned(template=False)]

    assert len(titles) == len(set(titles))


def test_a_wait_looks_at_a_process_that_was_started_before() -> None:
    for stage in planned(template=False):
        started = set()
        for step in stage.steps:
            if isinstance(step, Start):
                started.add(step.name)
            if isinstance(step, Wait) and step.process is not None:
                assert step.process in started, f"{stage.title}: {step}"


def test_the_template_is_only_made_when_there_is_none() -> None:
    assert not [stage for stage in planned(template=True) if "template" in stage.title]
    assert [stage for stage in planned(template=False) if "template" in stage.title]


def test_every_process_runs_inside_a_namespace() -> None:
    outside = [
        step.name for stage in planned() for step in stage.steps if isinstance(step, Start) and not step.namespace
    ]

    assert outside == []


def test_each_host_runs_our_three_agents_and_bird() -> None:
    names = {step.name for stage in planned(hosts=3) for step in stage.steps if isinstance(step, Start)}

    for host in ("h1", "h2", "h3"):
        assert {f"{host}/{program}" for program in ("felix", "dhcp", "bgp", "bird")} <= names


def test_light_mode_needs_neither_mariadb_nor_keystone() -> None:
    names = {step.name for stage in planned("light") for step in stage.steps if isinstance(step, Start)}

    assert {name for name in names if name.startswith("ctl/")} == {"ctl/etcd", "ctl/neutron-api"}


def test_files_with_a_password_are_readable_by_their_owner_only() -> None:
    secrets = [placeholder_secrets()]
    words = [getattr(secrets[0], name) for name in type(secrets[0]).__dataclass_fields__]
    open_files = [
        str(step.path)
        for stage in planned(template=False)
        for step in stage.steps
        if isinstance(step, Write) and any(word in step.content for word in words) and step.mode & 0o077
    ]

    assert open_files == []


def test_no_password_is_in_a_command_line_or_in_the_printed_plan() -> None:
    printed = describe(planned(template=False))
    secrets = placeholder_secrets()

    for name in type(secrets).__dataclass_fields__:
        assert getattr(secrets, name) not in printed


def test_a_dry_run_reads_like_commands() -> None:
    lines = describe(planned()).splitlines()

    assert "    ip netns add calico-h1" in lines
    assert "    neutron, dhcp: boot g1 on h1, g2 on h2, g3 on h1, g4 on h2" in lines
    assert [line for line in lines if line.startswith("# agents alive")] == [
        "# agents alive   (after Neutron API, h1 agents, h2 agents)"
    ]


def test_etcd_is_locked_before_any_agent_is_told_of_it() -> None:
    (etcd,) = [stage for stage in planned() if stage.title == "etcd"]
    last = etcd.steps[-1]

    assert isinstance(last, Run)
    assert last.argv[-2:] == ("auth", "enable")
    assert all("etcd" in stage.needs for stage in planned() if stage.title.endswith("agents"))
