# SPDX-License-Identifier: MIT
"""What the tuning profiles mean.

A connection's window is that of all its streams together, so that requests whose application takes
nothing can't keep another one's body from coming. It is also what a client can make a connection
hold at the most, beside the kernel's own buffers: the last column.

==================  =======  ========  ==========  ==============  ==================
profile             streams  a window  a frame     a head          bodies, at most
==================  =======  ========  ==========  ==============  ==================
conservative             32    64 KiB      16 KiB          16 KiB               2 MiB
balanced                100   128 KiB      64 KiB          64 KiB            12.5 MiB
high-concurrency      1,000    64 KiB      16 KiB          64 KiB              62 MiB
==================  =======  ========  ==========  ==============  ==================
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from trioserve.protocols.http2.engine import LocalSettings

if TYPE_CHECKING:
    from trioserve.config import Http2Options

__all__ = ["local_settings"]

#: Streams, window, frame, head.
_PROFILES: Final = {
    "conservative": (32, 65_535, 16_384, 16_384),
    "balanced": (100, 131_072, 65_536, 65_536),
    "high-concurrency": (1_000, 65_535, 16_384, 65_536),
}
_LARGEST_WINDOW: Final = 2**31 - 1


def local_settings(options: Http2Options) -> LocalSettings:
    """What is announced to a client: the settings, and the profile where they say nothing."""
    streams, window, frame, head = _PROFILES[options.http2_profile]
    streams = options.http2_max_concurrent_streams or streams
    window = options.http2_initial_window_size or window
    return LocalSettings(
        max_concurrent_streams=streams,
        initial_window_size=window,
        max_frame_size=options.http2_max_frame_size or frame,
        max_header_list_size=options.http2_max_header_list_size or head,
        connection_window_size=max(65_535, min(streams * window, _LARGEST_WINDOW)),
    )
