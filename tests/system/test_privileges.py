# SPDX-License-Identifier: MIT
"""Real users of the machine, in processes of their own: what is given up doesn't come back."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from trioserve.config import Config
from trioserve.errors import ConfigError
from trioserve.system.privileges import Identity, drop_privileges, find_identity

if TYPE_CHECKING:
    from collections.abc import Iterator

NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
NOBODY = pwd.getpwnam("nobody")

#: Drops the privileges of settings in JSON, as the user of argv; says who it is then, and whether
#: it can be root again.
PROGRAM = """
import contextlib, json, os, sys, threading
from trioserve.config import Config
from trioserve.errors import ConfigError
from trioserve.logs import configure_logging
from trioserve.system.privileges import drop_privileges

config = Config(**json.loads(sys.argv[1]))
if len(sys.argv) > 2:
    os.setgroups([]); os.setgid(int(sys.argv[2])); os.setuid(int(sys.argv[2]))
configure_logging(config)
before = threading.Event(); go = threading.Event(); seen = []
thread = threading.Thread(target=lambda: (before.set(), go.wait(), seen.append(os.getuid())))
thread.start(); before.wait()
try:
    drop_privileges(config)
except ConfigError as exc:
    go.set()
    sys.exit(str(exc))
go.set(); thread.join()
seen = {
    "uid": os.getuid(), "euid": os.geteuid(), "gid": os.getgid(), "groups": os.getgroups(),
    "threads": seen, "home": os.environ["HOME"]
}
regained = []
for call in (os.setuid, os.setgid, os.seteuid, lambda _: os.setgroups([0])):
    with contextlib.suppress(OSError):
        call(0)
        regained.append(call.__name__)
print(json.dumps({**seen, "regained": regained}))
"""


def run(settings: dict[str, Any], *as_user: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", PROGRAM, json.dumps(settings), *map(str, as_user)]
    environ = {**os.environ, "HOME": "/as/it/was"}
    return subprocess.run(
        command, env=environ, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture
def readable() -> Iterator[Path]:
    """A directory of root's that others can look into, unlike pytest's."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


@NEEDS_ROOT
@pytest.mark.parametrize("user", ["nobody", str(NOBODY.pw_uid), NOBODY.pw_uid])
def test_a_user_brings_its_groups_and_nothing_can_be_regained(user: str | int) -> None:
    done = run({"user": user})
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "uid": NOBODY.pw_uid,
        "euid": NOBODY.pw_uid,
        "gid": NOBODY.pw_gid,
        "groups": [NOBODY.pw_gid],
        "threads": [NOBODY.pw_uid],
        "regained": [],
        "home": "/as/it/was",
    }
    assert f"the process is user {NOBODY.pw_uid}, group {NOBODY.pw_gid} now" in done.stderr


@NEEDS_ROOT
def test_a_group_may_be_another_and_a_number_needs_no_entry() -> None:
    seen = json.loads(run({"user": "4711", "group": "4712"}).stdout)
    assert (seen["uid"], seen["gid"], seen["groups"]) == (4711, 4712, [4712])
    assert seen["regained"] == []


@NEEDS_ROOT
def test_a_group_alone_leaves_the_user() -> None:
    seen = json.loads(run({"group": "4712"}).stdout)  # root, who may regain everything
    assert (seen["uid"], seen["gid"], seen["groups"]) == (os.getuid(), 4712, [4712])


@NEEDS_ROOT
@pytest.mark.parametrize("settings", [{"user": "root"}, {"group": "4712"}])
def test_who_isnt_root_is_told_so(settings: dict[str, Any]) -> None:
    done = run(settings, 65533)
    name, value = next(iter(settings.items()))
    assert done.returncode == 1
    assert done.stderr.startswith(f"{name} '{value}': only root can become another")
    assert "is user 65533, group 65533" in done.stderr


@NEEDS_ROOT
def test_who_is_that_user_already_stays_as_it_is() -> None:
    done = run({"user": "65533", "group": "65533"}, 65533)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["uid"] == 65533


@NEEDS_ROOT
def test_the_log_files_are_the_users_then(readable: Path) -> None:
    access, error = readable / "access.log", readable / "error.log"
    files = {"access_log_file": str(access), "error_log_file": str(error)}
    done = run({"user": "nobody", **files})
    assert done.returncode == 0, done.stderr
    assert (access.stat().st_uid, access.stat().st_gid) == (NOBODY.pw_uid, NOBODY.pw_gid)
    assert error.stat().st_uid == NOBODY.pw_uid
    assert "the process is user" in error.read_text()


def test_without_the_settings_nothing_happens() -> None:
    assert find_identity(Config()) is None
    drop_privileges(Config())


def test_a_users_supplementary_groups_are_those_of_the_database() -> None:
    identity = find_identity(Config(user="nobody"))
    assert identity == Identity(
        NOBODY.pw_uid, NOBODY.pw_gid, tuple(os.getgrouplist("nobody", NOBODY.pw_gid))
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"user": "no-such-user"}, "user 'no-such-user': there is no such user on this machine"),
        ({"group": "no-such"}, "group 'no-such': there is no such group on this machine"),
        ({"user": ""}, "user '': expected the name or the number of a user"),
        ({"user": -1}, "user -1: expected the name or the number of a user"),
        ({"user": 2**32 - 1}, "user '4294967295': expected the name or the number of a user"),
        ({"user": "a\0b"}, r"user 'a\x00b': there is no such user"),
        ({"user": 4711}, "user '4711': this machine has no entry for that number"),
        ({"umask": "0999"}, "umask '0999': expected the bits that new files don't get"),
        ({"pid_file": "/run/"}, "pid_file '/run/': expected the path of a file"),
        ({"error_log_file": ""}, "error_log_file '': expected the path of a file, or"),
        ({"chdir": ""}, "chdir '': expected the path of a directory"),
    ],
)
def test_a_setting_that_cant_be_used_is_an_error_at_once(
    settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        Config(**settings)
    assert str(caught.value).startswith(message)


def test_the_forms_of_the_settings() -> None:
    config = Config(user=0, umask="0027", pid_file=Path("x.pid"), env_file=Path("e"), chdir="/")
    assert (config.user, config.umask, config.pid_file) == ("0", 0o027, "x.pid")
    assert (config.env_file, config.process_name, config.access_log_file) == ("e", "trioserve", "-")


TWINS = """
import sys, trio
from trioserve.config import Config
from trioserve.listeners import open_listeners, open_twins
from trioserve.system.privileges import drop_privileges

async def main():
    config = Config(bind=("127.0.0.1:0",), reuse_port=True, user="nobody")
    async with open_listeners(config, reuse_port=True) as listeners:
        drop_privileges(config, [one.socket.fileno() for one in listeners])
        (twin,) = open_twins(listeners, 10)
        assert twin.address == listeners[0].address
        twin.close()

trio.run(main)
"""


@NEEDS_ROOT
def test_the_user_may_bind_once_more_what_root_has_bound() -> None:
    done = subprocess.run([sys.executable, "-c", TWINS], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
