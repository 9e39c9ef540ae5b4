# SPDX-License-Identifier: MIT
"""The watch, over real directories and watchfiles' own thread."""

from __future__ import annotations

import gc
import logging
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from trioserve.config import Config
from trioserve.errors import ConfigError
from trioserve.reloading import Watch, check_reload, open_watch, watching

if TYPE_CHECKING:
    from collections.abc import Callable

#: Seconds until a test fails. Changes are told within a tenth of one.
PATIENCE = 20.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "old.py").write_text("1")
    return folder


def config(folder: Path, **settings: Any) -> Config:
    return Config(reload=True, app_dir=str(folder), **settings)


async def changes_until(watch: Watch, *paths: Path) -> set[str]:
    """All that is told until all these have been."""
    missing = {str(path) for path in paths}
    found: set[str] = set()
    with trio.fail_after(PATIENCE):
        while missing - found:
            found |= await anext(watch)
    return found


# -- what is told ---------------------------------------------------------------------------


def create(folder: Path) -> Path:
    (folder / "new.py").write_text("2")
    return folder / "new.py"


def modify(folder: Path) -> Path:
    (folder / "old.py").write_text("2")
    return folder / "old.py"


def touch(folder: Path) -> Path:
    os.utime(folder / "old.py")
    return folder / "old.py"


def replace(folder: Path) -> Path:
    """As editors save: another file takes the name."""
    (folder / ".old.py.tmp").write_text("2")
    (folder / ".old.py.tmp").rename(folder / "old.py")
    return folder / "old.py"


def delete(folder: Path) -> Path:
    (folder / "old.py").unlink()
    return folder / "old.py"


def create_below_new_directories(folder: Path) -> Path:
    (folder / "a" / "b").mkdir(parents=True)
    (folder / "a" / "b" / "new.py").write_text("2")
    return folder / "a" / "b" / "new.py"


def move_a_directory_in(folder: Path) -> Path:
    other = folder.parent / "other"
    (other / "b").mkdir(parents=True)
    (other / "b" / "new.py").write_text("2")
    other.rename(folder / "other")
    return folder / "other" / "b" / "new.py"


@pytest.mark.parametrize(
    "change",
    [
        create,
        modify,
        touch,
        replace,
        delete,
        create_below_new_directories,
        move_a_directory_in,
    ],
)
async def test_a_change_is_told_and_nothing_else(
    folder: Path, change: Callable[[Path], Path]
) -> None:
    async with open_watch(config(folder)) as watch:
        path = change(folder)
        assert await changes_until(watch, path) == {str(path)}


async def test_what_does_not_matter_is_not_told(folder: Path) -> None:
    async with open_watch(config(folder, reload_exclude=["tests"])) as watch:
        (folder / "notes.txt").write_text("1")
        for name in ("__pycache__", ".git", "tests"):
            (folder / name).mkdir()
            (folder / name / "a.py").write_text("1")
        (folder / "old.py").read_text()
        path = create(folder)
        assert await changes_until(watch, path) == {str(path)}


async def test_what_changes_between_two_questions_is_kept(folder: Path) -> None:
    async with open_watch(config(folder)) as watch:
        await changes_until(watch, create(folder))
        paths = [folder / "a.py", folder / "b.py"]
        for path in paths:
            path.write_text("1")
        await changes_until(watch, *paths)


async def test_a_directory_behind_a_link_is_watched(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "linked").mkdir()
    (folder / "link").symlink_to(tmp_path / "linked")
    async with open_watch(config(folder)) as watch:
        (tmp_path / "linked" / "a.py").write_text("1")
        await changes_until(watch, folder / "link" / "a.py")


async def test_several_directories_are_watched_in_place_of_app_dir(
    folder: Path, tmp_path: Path
) -> None:
    directories = [tmp_path / "one", tmp_path / "two"]
    for directory in directories:
        directory.mkdir()
    async with open_watch(config(folder, reload_dir=directories)) as watch:
        create(folder)
        paths = [directory / "a.py" for directory in directories]
        for path in paths:
            path.write_text("1")
        assert await changes_until(watch, *paths) == {str(path) for path in paths}


async def test_polling_is_used_where_it_is_asked_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHFILES_FORCE_POLLING", "1")
    async with open_watch(config(folder)) as watch:
        await changes_until(watch, create(folder))


# -- directories that go and come -----------------------------------------------------------


@pytest.mark.slow  # a directory is looked for once a second
async def test_a_directory_that_goes_and_comes_back_is_watched_again(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with open_watch(config(folder)) as watch, trio.open_nursery() as nursery:
        told: list[frozenset[str]] = []

        async def listen() -> None:
            while True:
                told.append(await anext(watch))

        async def until(condition: Callable[[], bool]) -> None:
            await settled(lambda: not condition(), 0)

        nursery.start_soon(listen)
        shutil.rmtree(folder)
        await until(lambda: "is gone; it is watched again once it is back" in caplog.text)
        await trio.Path(folder).mkdir()
        await until(lambda: frozenset({str(folder)}) in told)
        assert f'reload: watching "{folder}" again' in caplog.text
        path = create(folder)
        await until(lambda: frozenset({str(path)}) in told)
        nursery.cancel_scope.cancel()


@pytest.mark.slow  # the same
async def test_a_link_that_leads_elsewhere_is_a_change(tmp_path: Path) -> None:
    for release in ("one", "two"):
        (tmp_path / release).mkdir()
    current = tmp_path / "current"
    current.symlink_to(tmp_path / "one")
    async with open_watch(config(current)) as watch:
        (tmp_path / "next").symlink_to(tmp_path / "two")
        (tmp_path / "next").rename(current)
        await changes_until(watch, current)
        (tmp_path / "two" / "a.py").write_text("1")
        await changes_until(watch, current / "a.py")


@pytest.mark.slow  # the same
async def test_a_directory_that_can_not_be_watched_again_is_logged(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise ConfigError("there are too many")

    async with open_watch(config(folder)) as watch:
        await trio.Path(folder).rename(folder.with_name("away"))
        monkeypatch.setattr(watching, "_make_notify", fail)
        await trio.Path(folder).mkdir()
        await changes_until(watch, folder)
        assert "there are too many" in caplog.text


# -- errors ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["app_dir", "reload_dir"])
async def test_a_directory_that_does_not_exist_is_a_config_error(tmp_path: Path, name: str) -> None:
    settings: dict[str, Any] = {"reload": True, name: str(tmp_path / "none")}
    missing = Config(**settings)
    message = rf'{name} ".*none": there is no such directory'
    with pytest.raises(ConfigError, match=message):
        check_reload(missing)
    with pytest.raises(ConfigError, match=message):
        async with open_watch(missing):
            pass


def test_without_reload_nothing_is_looked_at(tmp_path: Path) -> None:
    check_reload(Config(reload_dir=[str(tmp_path / "none")]))


def test_a_missing_package_is_a_config_error_that_says_how_to_get_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r'pip install "trioserve\[reload\]"'):
        check_reload(config(folder))


async def test_a_system_that_can_not_watch_is_a_config_error(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError("OS file watch limit reached.")

    monkeypatch.setattr("watchfiles._rust_notify.RustNotify", fail)
    with pytest.raises(ConfigError, match=r"watch limit reached.*max_user_watches"):
        async with open_watch(config(folder)):
            pass


# -- leaving --------------------------------------------------------------------------------


def open_files() -> int:
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


async def settled(count: Callable[[], int], expected: int) -> None:
    """Until a count is back where it was: threads that were told to end take their time."""
    with trio.fail_after(PATIENCE):
        while count() > expected:  # noqa: ASYNC110 - nothing tells of it
            await trio.sleep(0.01)


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="counts by /proc")
async def test_cancellation_leaves_no_thread_and_no_descriptor_behind(folder: Path) -> None:
    def threads() -> int:
        return len(os.listdir("/proc/self/task"))

    await trio.to_thread.run_sync(int)  # Trio keeps a thread for the next call
    files_before, threads_before = open_files(), threads()
    for _ in range(3):
        async with open_watch(config(folder)) as watch, trio.open_nursery() as nursery:
            nursery.start_soon(anext, watch)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
    await settled(open_files, files_before)
    await settled(threads, threads_before)


async def test_a_watch_that_was_cancelled_can_be_asked_again(folder: Path) -> None:
    async with open_watch(config(folder)) as watch:
        for delay in (0.0, 0.05):
            with trio.move_on_after(delay) as scope:
                await anext(watch)
            assert scope.cancelled_caught
        await changes_until(watch, create(folder))
