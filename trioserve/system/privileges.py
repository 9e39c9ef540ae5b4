# SPDX-License-Identifier: MIT
"""From root to the user that the server runs as, for good.

The order is forced: without root's user id no group can be given up any more. ``HOME``, ``USER``
and their kin are left as they are, as gunicorn does.
"""

from __future__ import annotations

import grp
import logging
import os
import pwd
from typing import TYPE_CHECKING

import attrs

from trioserve.config.process_kinds import number_of
from trioserve.errors import ConfigError
from trioserve.logs import give_logs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trioserve.config import ProcessOptions

__all__ = ["Identity", "drop_privileges", "find_identity"]

_log = logging.getLogger("trioserve.error")


@attrs.frozen
class Identity:
    """Whom a process is to become.

    Attributes:
        uid: The user; None: it stays whoever it is.
        gid: The group.
        groups: The supplementary groups.
    """

    uid: int | None
    gid: int
    groups: tuple[int, ...]

    @property
    def is_ours(self) -> bool:
        """Whether this process has user and group already."""
        return self.uid in (None, os.geteuid()) and self.gid == os.getegid()

    def __str__(self) -> str:
        user = "" if self.uid is None else f"user {self.uid}, "
        return f"{user}group {self.gid}"


def find_identity(options: ProcessOptions) -> Identity | None:
    """Whom ``user`` and ``group`` name; None where neither is set.

    Of a user the group is, where ``group`` isn't set, the one of the user database, and so are the
    supplementary ones.

    Raises:
        ConfigError: One isn't known (any more: settings are checked for that).
    """
    if options.user is None and options.group is None:
        return None
    gid = None if options.group is None else _group_number(options.group)
    if options.user is None:
        assert gid is not None
        return Identity(None, gid, (gid,))
    entry = _user_entry(options.user)
    if entry is None:
        if gid is None:
            raise ConfigError(f"user {options.user!r}: its group isn't known; set group, too")
        return Identity(int(options.user), gid, (gid,))
    if gid is None:
        gid = entry.pw_gid
    return Identity(entry.pw_uid, gid, tuple(os.getgrouplist(entry.pw_name, gid)))


def drop_privileges(options: ProcessOptions, sockets: Sequence[int] = ()) -> None:
    """Becomes the user and the group of the settings; nothing where they are not set.

    To be called once everything is open that needs root (ports below 1024, log files, the
    pid file), and before anything of the application's runs on behalf of a client. Log files are
    given to the user, who has to open them again. All threads of the process change.

    A process that is that user already, such as the successor of one that has dropped its
    privileges, stays as it is.

    Args:
        options: Name user and group.
        sockets: Become the user's, too: the kernel lets no other bind their addresses once more
            (SO_REUSEPORT).

    Raises:
        ConfigError: User or group isn't known; this process isn't root, and so can't become another
            user; or the change can be taken back (which no known system does).
    """
    identity = find_identity(options)
    if identity is None or (identity.is_ours and os.geteuid() != 0):
        return
    if os.geteuid() != 0:
        name = "user" if options.user is not None else "group"
        raise ConfigError(
            f"{name} {getattr(options, name)!r}: only root can become another, and this process "
            f"is user {os.geteuid()}, group {os.getegid()}; start it as root, or as that user "
            f"without the setting"
        )
    give_logs(-1 if identity.uid is None else identity.uid, identity.gid)
    try:
        for fd in sockets:
            os.fchown(fd, -1 if identity.uid is None else identity.uid, identity.gid)
        os.setgroups(identity.groups)
        os.setgid(identity.gid)
        if identity.uid is not None:
            os.setuid(identity.uid)
    except OSError as exc:  # a container without the capabilities, a user namespace
        raise ConfigError(f"the process can't become {identity}: {exc.strerror}") from exc
    _check_that_it_lasts(identity)
    _log.info("the process is %s now", identity)


def _check_that_it_lasts(identity: Identity) -> None:
    if os.getegid() != identity.gid or set(os.getgroups()) - set(identity.groups) - {identity.gid}:
        raise ConfigError(f"the process has not become {identity}: groups of its past are left")
    if identity.uid in (None, 0):
        return
    try:
        os.setuid(0)
    except OSError:
        if os.getuid() == os.geteuid() == identity.uid:
            return
    raise ConfigError(f"the process has become {identity}, but can be root again: it is not safe")


def _user_entry(user: str) -> pwd.struct_passwd | None:
    number = number_of(user)
    try:
        return pwd.getpwnam(user) if number is None else pwd.getpwuid(number)
    except KeyError:
        if number is None:
            raise ConfigError(f"user {user!r}: there is no such user on this machine") from None
        return None


def _group_number(group: str) -> int:
    number = number_of(group)
    try:
        return grp.getgrnam(group).gr_gid if number is None else number
    except KeyError:
        raise ConfigError(f"group {group!r}: there is no such group on this machine") from None
