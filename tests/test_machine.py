"""What a machine has free: files of the kernel, as they are and made up."""

import os
import subprocess
import sys

import pytest

from delineate import machine

MIB = 2**20


@pytest.fixture
def kernel(tmp_path):
    """Write files of a kernel and return the room that the control groups of a place leave."""

    def write(groups, files):
        (tmp_path / "groups").write_text(groups)
        for name, text in files.items():
            path = tmp_path / "tree" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return list(machine._group_rooms(tmp_path / "groups", tmp_path / "tree"))

    return write


def test_version_2_groups_leave_the_limit_less_use_of_each_level(kernel):
    rooms = kernel(
        "0::/a/b\n",
        {
            "a/memory.max": f"{900 * MIB}\n",
            "a/memory.current": f"{500 * MIB}\n",
            "a/memory.stat": f"anon 1\ninactive_file {100 * MIB}\n",
            "a/b/memory.max": "max\n",
            "a/b/memory.current": f"{500 * MIB}\n",
        },
    )
    assert rooms == [500 * MIB]


def test_version_1_groups_are_read_where_the_container_sees_them(kernel):
    # the place is that outside of the container, whose own files lie at the root of the tree
    rooms = kernel(
        "5:cpu:/docker/12\n4:memory:/docker/12\n0::/\n",
        {
            "memory/memory.limit_in_bytes": f"{300 * MIB}\n",
            "memory/memory.usage_in_bytes": f"{200 * MIB}\n",
            "memory/memory.stat": "total_inactive_file 0\n",
        },
    )
    assert rooms == [100 * MIB]


def test_groups_without_a_limit_or_without_files_say_nothing(kernel):
    unlimited = {"memory/memory.limit_in_bytes": "9223372036854771712", "memory/memory.stat": ""}
    assert kernel("4:memory:/\n", {**unlimited, "memory/memory.usage_in_bytes": "5"}) == []
    assert kernel("4:memory:/\n", {"memory/memory.limit_in_bytes": "garbage"}) == []
    assert kernel("", {}) == []


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is Linux's")
def test_free_memory_keeps_to_a_limit_on_the_address_space():
    free = machine.free_memory()
    assert free is not None
    assert 0 < free < os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30));"
        "from delineate.machine import free_memory; print(free_memory())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 0 < int(done.stdout) < 2**30


def test_devices_that_nobody_can_ask_have_unknown_room():
    assert machine.free_memory("mps") is None
