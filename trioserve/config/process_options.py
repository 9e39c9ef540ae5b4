# SPDX-License-Identifier: MIT
"""The settings of the process and its place in the system: a group like those in `.options`."""

from __future__ import annotations

import pwd
from typing import Final

import attrs

from trioserve.config import kinds, process_kinds
from trioserve.config.fields import about, setting
from trioserve.errors import ConfigError

__all__ = ["ProcessOptions"]

_GROUP: Final = "Process"


@attrs.frozen(kw_only=True, slots=False)
class ProcessOptions:
    """Who the process is, where it lives, how others find it."""

    pid_file: str | None = attrs.field(
        default=None,
        converter=kinds.as_path_text,
        validator=process_kinds.FILE,
        metadata=about(
            _GROUP, process_kinds.FILE, "Write the process id here while the server serves"
        ),
    )
    user: str | None = attrs.field(
        default=None,
        converter=process_kinds.as_id_text,
        validator=process_kinds.USER,
        metadata=about(
            _GROUP,
            process_kinds.USER,
            "Become this user once sockets and logs are open; needs root",
        ),
    )
    group: str | None = attrs.field(
        default=None,
        converter=process_kinds.as_id_text,
        validator=process_kinds.GROUP,
        metadata=about(
            _GROUP, process_kinds.GROUP, "Become of this group; not set: the user's own; needs root"
        ),
    )
    umask: int | None = attrs.field(
        default=None,
        converter=process_kinds.as_optional_mode,
        validator=process_kinds.OPTIONAL_MODE,
        metadata=about(
            _GROUP,
            process_kinds.OPTIONAL_MODE,
            "Permission bits that new files don't get, in octal; not set: as inherited",
        ),
    )
    chdir: str | None = attrs.field(
        default=None,
        converter=kinds.as_path_text,
        validator=process_kinds.OPTIONAL_DIRECTORY,
        metadata=about(
            _GROUP,
            process_kinds.OPTIONAL_DIRECTORY,
            "Change to this directory before the app is loaded; paths but those of config and "
            "env_file are relative to it",
        ),
    )
    env_file: str | None = attrs.field(
        default=None,
        converter=kinds.as_path_text,
        validator=process_kinds.FILE,
        metadata=about(
            _GROUP,
            process_kinds.FILE,
            "Take variables from this file (NAME=value lines) that the environment lacks",
        ),
    )
    process_name: str = setting(
        _GROUP,
        kinds.TEXT,
        "trioserve",
        "Shown by ps, where setproctitle is installed, to tell servers apart",
    )

    def __attrs_post_init__(self) -> None:
        if self.user is None or self.group is not None:
            return
        number = process_kinds.number_of(self.user)
        if number is None:
            return
        try:
            pwd.getpwuid(number)
        except KeyError:
            raise ConfigError(
                f"user {self.user!r}: this machine has no entry for that number, so its group "
                "isn't known; set group, too"
            ) from None
