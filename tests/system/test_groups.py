"""Which group workers get, and which limits a group has, on simulated machines."""

import os
from pathlib import Path

import pytest

from marks import linux_only, posix_only
from nicefutures._system.common import AUTOGROUP, CGROUP, Group
from nicefutures._system.linux import cgroups, groups


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Return a function that makes control groups, with the CPU controller in those below the groups in `divided`."""

    def make(name, *, divided, writable=(), version=2):
        (tmp_path / "proc").mkdir()
        mount = tmp_path / "sys fs"
        own = mount
        for part in ["", *name.strip("/").split("/")]:
            own /= part
            own.mkdir(exist_ok=True)
            here = "/" + str(own.relative_to(mount)).strip(".")
            (own / "cgroup.procs").touch()
            (own / "cgroup.controllers").write_text("cpu memory\n")
            (own / "cgroup.subtree_control").write_text("cpu\n" if here in divided else "\n")
            if here != "/" and str(Path(here).parent) in divided:
                (own / "cpu.weight").write_text("100\n")
        line = f"0::{name}" if version == 2 else f"3:cpu,cpuacct:{name}"
        kind = "cgroup2 cgroup2 rw" if version == 2 else "cgroup cgroup rw,cpu,cpuacct"
        (tmp_path / "proc" / "cgroup").write_text(f"1:name=x:/other\n{line}\n")
        mounted = str(mount).replace(" ", "\\040")
        (tmp_path / "proc" / "mountinfo").write_text(f"1 2 0:1 / {mounted} rw shared:1 - {kind}\n")
        monkeypatch.setattr(groups, "find_cgroup", lambda _: cgroups.find_cgroup("cpu", str(tmp_path / "proc")))
        allowed = {os.path.normpath(f"{mount}/{each}") for each in writable}
        monkeypatch.setattr(
            groups.os, "access", lambda path, _: os.path.normpath(path.removesuffix("/cgroup.procs")) in allowed
        )
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
        enabled = tmp_path / "enabled"
        enabled.write_text("1\n")
        monkeypatch.setattr(groups, "_AUTOGROUP_ENABLED", str(enabled))
        return mount

    return make


_SERVICE = "/user.slice/user-7.slice/user@7.service"


@linux_only
def test_user_manager(machine, tmp_path):
    """Below a user manager that can be called, workers get a scope."""
    machine(f"{_SERVICE}/app.slice/x.scope", divided=("/", "/user.slice", "/user.slice/user-7.slice", _SERVICE))
    assert not isinstance(groups.find(), Group)
    (tmp_path / "run" / "systemd").mkdir(parents=True)
    (tmp_path / "run" / "bus").touch()
    (tmp_path / "run" / "systemd" / "private").touch()
    assert groups.find().kind == "systemd scope"


@linux_only
def test_login_session(machine, tmp_path):
    """In a login session, outside the user manager, workers get no group, because a scope would not be lower."""
    machine("/user.slice/user-7.slice/session-1.scope", divided=("/", "/user.slice", "/user.slice/user-7.slice"))
    (tmp_path / "run" / "systemd").mkdir(parents=True)
    (tmp_path / "run" / "bus").touch()
    (tmp_path / "run" / "systemd" / "private").touch()
    assert "autogroup has no effect in its control group" in groups.find().reason


@linux_only
def test_delegated_group(machine):
    """Workers go into the highest group that may be divided, so that they yield to as many programs as possible."""
    mount = machine("/a/b/c/d", divided=("/", "/a", "/a/b", "/a/b/c"), writable=("/a/b", "/a/b/c", "/a/b/c/d"))
    found = groups.find()
    assert found.kind == CGROUP
    assert Path(found.directory).parent == mount / "a" / "b"
    assert Path(found.home) == mount / "a" / "b" / "c" / "d"


@linux_only
@pytest.mark.parametrize("group", [Group(CGROUP, "/nowhere/x", "/nowhere"), Group(AUTOGROUP)], ids=lambda g: g.kind)
def test_no_place_for_good(monkeypatch, group):
    """A process without a keeper enters no group that would need one."""
    monkeypatch.setattr(groups, "find", lambda: group)
    before = Path("/proc/self/cgroup").read_text(), os.getsid(0)
    assert groups.enter().remedy == "Start it as desktops do, below a user manager."
    assert before == (Path("/proc/self/cgroup").read_text(), os.getsid(0))


@linux_only
def test_threaded_group(machine):
    """A threaded group is not used, because it accepts no processes."""
    mount = machine("/a/b", divided=("/", "/a"), writable=("/a",))
    (mount / "a" / "cgroup.type").write_text("domain threaded\n")
    assert not isinstance(groups.find(), Group)


@linux_only
def test_no_controller(machine):
    """Where no group has the CPU controller, autogroup decides."""
    machine("/user.slice/session.scope", divided=())
    assert groups.find() == Group(AUTOGROUP)


@linux_only
@pytest.mark.parametrize("own", ["/autogroup-7 nice 0\n", ""], ids=["autogroup", "none"])
def test_hidden_settings(machine, tmp_path, monkeypatch, own):
    """If a sandbox hides /proc/sys, the process's own autogroup file shows whether autogroup is on."""
    machine("/user.slice/session.scope", divided=())
    (tmp_path / "enabled").unlink()
    (tmp_path / "own").write_text(own)
    monkeypatch.setattr(groups, "_OWN_AUTOGROUP", str(tmp_path / "own"))
    assert isinstance(groups.find(), Group) is bool(own)


@linux_only
@pytest.mark.parametrize(("name", "decides"), [("/", True), ("/docker/1", False)])
def test_version_1(machine, name, decides):
    """In version 1, autogroup decides in the root group of the machine, and in no other."""
    mount = machine(name, divided=(), version=1)
    assert not isinstance(groups.find(), Group)  # a container's own root
    (mount / "release_agent").touch()
    assert isinstance(groups.find(), Group) is decides


# --- limits of groups


def test_quotas(tmp_path):
    """The strictest limit on the way up counts, also in a container that sees only its own hierarchy."""
    (tmp_path / "cgroup").write_bytes(b"0::/pod/container\n")
    mount = tmp_path / "mount"
    inner = mount / "container"
    inner.mkdir(parents=True)
    (tmp_path / "mountinfo").write_bytes(f"1 2 0:1 /pod {mount} rw - cgroup2 cgroup2 rw\n".encode())
    (inner / "cpu.max").write_text("max 100000\n")
    (inner / "memory.max").write_text("max\n")
    assert cgroups.cpu_quota(str(tmp_path)) is None
    assert cgroups.memory_limit(str(tmp_path)) is None
    (mount / "cpu.max").write_text("150000 100000\n")
    (mount / "memory.max").write_text("1000000\n")
    assert cgroups.cpu_quota(str(tmp_path)) == 1.5
    assert cgroups.memory_limit(str(tmp_path)) == 1_000_000
    (inner / "cpu.max").write_text("50000 100000\n")
    assert cgroups.cpu_quota(str(tmp_path)) == 0.5


@posix_only  # Windows does not allow such file names
@pytest.mark.parametrize("character", ["\r", "\v", "\f", "\x1c", "\x85", "\u2028", "\xa0", "\\", "\t", " "])
def test_names(tmp_path, character):
    """The name of a group may have any character except a newline, also those that end a line in other files."""
    name, mount = f"a{character}b", tmp_path / f"m{character}t"
    escaped = str(mount)
    for each in "\\\t ":
        escaped = escaped.replace(each, f"\\{ord(each):03o}")
    (mount / name).mkdir(parents=True)
    (mount / name / "cpu.max").write_text("50000 100000\n")
    (tmp_path / "cgroup").write_bytes(f"0::/{name}\n".encode())
    (tmp_path / "mountinfo").write_bytes(f"1 2 0:1 / {escaped} rw - cgroup2 cgroup2 rw\n".encode())
    assert cgroups.cpu_quota(str(tmp_path)) == 0.5


def test_quotas_of_version_1(tmp_path):
    """Version 1 has its own files, and a hierarchy for each controller; a path of the host leads to the mount."""
    (tmp_path / "cgroup").write_bytes(b"4:memory:/docker/1\n3:cpu,cpuacct:/docker/1\n0::/\n")
    for controller in ("cpu,cpuacct", "memory"):
        (tmp_path / controller).mkdir()
    (tmp_path / "mountinfo").write_bytes(
        (
            f"1 2 0:1 /docker/1 {tmp_path}/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct\n"
            f"1 2 0:1 /docker/1 {tmp_path}/memory ro - cgroup cgroup rw,memory\n"
        ).encode()
    )
    (tmp_path / "cpu,cpuacct" / "cpu.cfs_period_us").write_text("100000\n")
    (tmp_path / "cpu,cpuacct" / "cpu.cfs_quota_us").write_text("-1\n")
    (tmp_path / "memory" / "memory.limit_in_bytes").write_text("9223372036854771712\n")
    assert cgroups.cpu_quota(str(tmp_path)) is None
    assert cgroups.memory_limit(str(tmp_path)) is None
    (tmp_path / "cpu,cpuacct" / "cpu.cfs_quota_us").write_text("250000\n")
    (tmp_path / "memory" / "memory.limit_in_bytes").write_text("2000000\n")
    assert cgroups.cpu_quota(str(tmp_path)) == 2.5
    assert cgroups.memory_limit(str(tmp_path)) == 2_000_000


def test_no_groups(tmp_path):
    """A system without control groups has no quotas."""
    assert cgroups.cpu_quota(str(tmp_path)) is None
    assert cgroups.memory_limit(str(tmp_path)) is None


@linux_only
@pytest.mark.parametrize("name", ["app.slice/nicefutures-7-0", "app.slice/x.scope"])
def test_members(machine, monkeypatch, tmp_path, name):
    """The members of a group that was made for workers are listed, those of any other group are not."""
    mount = machine(f"/{name}", divided=("/",))
    (mount / name / "cgroup.procs").write_text("7\n8\n")
    monkeypatch.setattr(groups, "find_cgroup", lambda *_: cgroups.find_cgroup("cpu", str(tmp_path / "proc")))
    assert groups.members(7) == ([7, 8] if "nicefutures-" in name else [])
