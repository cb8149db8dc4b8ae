"""What /proc tells of a process, as facts. Pure."""

from __future__ import annotations

import pytest

from console.hosts.facts import ProcessFacts, parse_facts
from console.hosts.processes import Process

TEXT = """== stat
4711 (pg bouncer) x) S 1 4711 4711 0 -1 4194560 900 0 0 0 250 50 0 0 20 0 1 0 123456 99 777
== status
Name:\tpgbouncer
Uid:\t101\t102\t101\t101
VmRSS:\t    8720 kB
== cgroup
0::/system.slice/system-pgbouncer.slice/pgbouncer@1.service
== boot
btime 1700000000
== ticks
100
"""
PROCESS = Process(4711, 123456, "boot", "S", ("/usr/sbin/pgbouncer", "-d"), "/usr/sbin/pgbouncer (deleted)")


def test_the_texts_of_proc_are_read_as_facts() -> None:
    found = parse_facts(PROCESS, TEXT)
    assert found == ProcessFacts(
        process=PROCESS,
        cgroup="/system.slice/system-pgbouncer.slice/pgbouncer@1.service",
        started_at_s=1700000000 + 1234.56,
        uid=102,
        cpu_s=3.0,
        rss_bytes=8720 * 1024,
    )
    assert not found.ended
    assert (found.executable, found.executable_replaced) == ("/usr/sbin/pgbouncer", True)


@pytest.mark.parametrize("text", ["", "== stat\n", TEXT[:40], TEXT.replace("123456", "123457")])
def test_one_that_ended_meanwhile_or_whose_pid_is_another_ones_is_none(text: str) -> None:
    assert parse_facts(PROCESS, text) is None


def test_the_old_hierarchy_of_control_groups_is_known() -> None:
    found = parse_facts(PROCESS, TEXT.replace("0::/system", "3:cpu:/\n1:name=systemd:/system"))
    assert found is not None
    assert found.cgroup.endswith("pgbouncer@1.service")
