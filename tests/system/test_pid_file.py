# SPDX-License-Identifier: MIT
from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from trioserve.errors import ConfigError
from trioserve.system.pid_file import open_pid_file

if TYPE_CHECKING:
    from collections.abc import Iterator

NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "server.pid"


def ended_process() -> int:
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    return done.pid


def test_it_holds_the_process_for_the_block_whatever_the_umask(path: Path) -> None:
    before = os.umask(0o077)
    try:
        with open_pid_file(str(path)):
            assert path.read_text() == f"{os.getpid()}\n"
            assert stat.S_IMODE(path.stat().st_mode) == 0o644
            assert list(path.parent.iterdir()) == [path]
    finally:
        os.umask(before)
    assert list(path.parent.iterdir()) == []


def test_no_path_is_no_file() -> None:
    with open_pid_file(None) as file:
        assert file is None


def test_a_relative_path_is_that_of_the_start(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    with open_pid_file(path.name):
        monkeypatch.chdir("/")
    assert not path.exists()


def test_it_goes_also_when_the_block_fails(path: Path) -> None:
    with pytest.raises(ZeroDivisionError), open_pid_file(str(path)):
        _ = 1 / 0
    assert not path.exists()


def test_a_living_process_keeps_its_file(path: Path) -> None:
    path.write_text(f"{os.getppid()}\n")
    expected = f"pid_file '{path}': process {os.getppid()}, whose id it holds, is running"
    with pytest.raises(ConfigError, match=re.escape(expected)), open_pid_file(str(path)):
        pass
    assert path.read_text() == f"{os.getppid()}\n"


def test_a_process_that_has_ended_is_replaced_with_a_line_of_log(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pid = ended_process()
    path.write_text(str(pid))
    with open_pid_file(str(path)):
        assert path.read_text() == f"{os.getpid()}\n"
    assert caplog.messages == [
        f"pid_file {path}: process {pid} has ended without removing it; replaced"
    ]


@pytest.mark.parametrize("content", ["", "\n", "own"])
def test_an_empty_file_and_ones_own_id_are_replaced_silently(
    path: Path, caplog: pytest.LogCaptureFixture, content: str
) -> None:
    path.write_text(str(os.getpid()) if content == "own" else content)
    with open_pid_file(str(path)):
        assert path.read_text() == f"{os.getpid()}\n"
    assert caplog.messages == []


@pytest.mark.parametrize("content", ["-1", "0", "1 2", "hello", "9" * 40, "²"])
def test_a_file_with_something_else_in_it_is_not_ours_to_replace(path: Path, content: str) -> None:
    path.write_text(content)
    with pytest.raises(ConfigError, match="holds no process id but"), open_pid_file(str(path)):
        pass
    assert path.read_text() == content


def test_a_successor_may_rewrite_it_and_then_it_stays(path: Path) -> None:
    program = (
        "import sys; from trioserve.system.pid_file import open_pid_file\n"
        "with open_pid_file(sys.argv[1], predecessor=int(sys.argv[2])):\n"
        "    print('up', flush=True); sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", program, str(path), str(os.getpid())]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with open_pid_file(str(path)):
        successor = subprocess.Popen(command, **pipes, text=True)  # type: ignore[call-overload]
        with successor:
            assert successor.stdout.readline() == "up\n"
            assert path.read_text() == f"{successor.pid}\n"
    assert not path.exists()  # the successor has removed it at its own end
    with open_pid_file(str(path)):
        path.unlink()
        path.write_text("4711\n")
    assert path.read_text() == "4711\n"


def test_it_can_be_handed_over_through_the_descriptor(path: Path) -> None:
    with open_pid_file(str(path)) as file:
        assert file is not None
        file.hand_over(7)
        assert path.read_text() == "7\n"
        file.hand_over(8)  # not this process's any more
        assert path.read_text() == "7\n"
    assert path.read_text() == "7\n"


def test_a_fork_of_the_process_leaves_it_alone(path: Path) -> None:
    program = (
        "import os, sys; from trioserve.system.pid_file import open_pid_file\n"
        "with open_pid_file(sys.argv[1]):\n"
        "    child = os.fork()\n"
        "    if child:\n"
        "        os.waitpid(child, 0); print(os.path.exists(sys.argv[1]))\n"
    )
    command = [sys.executable, "-c", program, str(path)]
    assert subprocess.check_output(command, text=True) == "True\n"
    assert not path.exists()


# -- places that can't be trusted -------------------------------------------------------------


def test_a_directory_that_anybody_can_write_to_is_refused(path: Path) -> None:
    path.parent.chmod(0o777)
    with pytest.raises(ConfigError, match="no sticky bit"), open_pid_file(str(path)):
        pass
    assert not path.exists()
    path.parent.chmod(0o1777)
    with open_pid_file(str(path)):
        assert path.exists()


@pytest.mark.parametrize("target", ["there", "missing"])
def test_a_symbolic_link_is_refused_and_not_followed(path: Path, target: str) -> None:
    victim = path.with_name("victim")
    if target == "there":
        victim.write_text("precious")
    path.symlink_to(victim)
    with pytest.raises(ConfigError, match="is a symbolic link"), open_pid_file(str(path)):
        pass
    assert victim.exists() == (target == "there")
    assert path.is_symlink()


@NEEDS_ROOT
def test_a_file_of_another_user_is_refused(path: Path) -> None:
    path.write_text(str(ended_process()))
    os.chown(path, 65534, -1)
    expected = "it belongs to user 65534, this process is user 0"
    with pytest.raises(ConfigError, match=expected), open_pid_file(str(path)):
        pass


def test_what_is_no_plain_file_is_refused(path: Path) -> None:
    os.mkfifo(path)
    with pytest.raises(ConfigError, match="is no plain file"), open_pid_file(str(path)):
        pass
    path.unlink()
    path.mkdir()
    with pytest.raises(ConfigError, match="is no plain file"), open_pid_file(str(path)):
        pass


def test_a_directory_that_is_missing_is_named_with_the_reason(path: Path) -> None:
    missing = path / "x.pid"
    expected = f"pid_file '{missing}': can't be written: No such file or directory"
    with pytest.raises(ConfigError, match=re.escape(expected)), open_pid_file(str(missing)):
        pass


@NEEDS_ROOT
def test_where_it_cant_be_removed_any_more_it_is_emptied(path: Path) -> None:
    program = (
        "import os, sys; from trioserve.system.pid_file import open_pid_file\n"
        "with open_pid_file(sys.argv[1]): os.setuid(65534)\n"
    )
    path.parent.chmod(0o755)
    subprocess.run([sys.executable, "-c", program, str(path)], check=True, timeout=60)
    assert path.read_text() == ""
    with open_pid_file(str(path)):
        assert path.read_text() == f"{os.getpid()}\n"


@pytest.fixture
def shared() -> Iterator[Path]:
    """A directory of root's that others can look into, unlike pytest's."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


SUCCESSOR_WITHOUT_PRIVILEGES = """
import os, sys
from trioserve.system.pid_file import open_pid_file
old = os.getppid()
os.chdir(os.path.dirname(sys.argv[1]))
os.setuid(65534)
with open_pid_file(os.path.basename(sys.argv[1]), predecessor=old):
    print("up", flush=True)
    sys.stdin.read()
print("down", flush=True)
"""


@NEEDS_ROOT
def test_a_successor_without_the_privileges_waits_for_the_file_to_be_handed_over(
    shared: Path,
) -> None:
    path = shared / "server.pid"
    command = [sys.executable, "-c", SUCCESSOR_WITHOUT_PRIVILEGES, str(path)]
    with open_pid_file(str(path)) as file:
        assert file is not None
        with subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as successor:
            assert successor.stdout is not None
            assert successor.stdout.readline() == "up\n"
            assert path.read_text() == f"{os.getpid()}\n"
            file.hand_over(successor.pid)
            assert path.read_text() == f"{successor.pid}\n"
            out, err = successor.communicate(timeout=60)
    assert (out, successor.returncode) == ("down\n", 0)
    assert "stays, since it can't be removed: Permission denied" in err
    assert path.read_text() == f"{successor.pid}\n"
