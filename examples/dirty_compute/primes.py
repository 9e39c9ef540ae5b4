# SPDX-License-Identifier: MIT
"""What runs in the workers. The server itself never imports this module."""

from __future__ import annotations

import hashlib
import itertools
import os
import secrets
from typing import TYPE_CHECKING

from trioserve.dirty import DirtyApp, cancelled

if TYPE_CHECKING:
    from collections.abc import Iterator

LIMIT = 1_000_000


class Primes(DirtyApp):
    """Work in Python, which holds the interpreter: one thread a worker, a worker for each core."""

    timeout = 20  # a call that still runs then costs its worker its life

    def init(self) -> None:
        """Once a worker, before its first call: what takes long to load stays in memory."""
        is_prime = bytearray([1]) * LIMIT
        is_prime[:2] = b"\0\0"
        for number in range(2, int(LIMIT**0.5) + 1):
            if is_prime[number]:
                multiples = range(number * number, LIMIT, number)
                is_prime[number * number :: number] = bytes(len(multiples))
        self.primes = list(itertools.compress(range(LIMIT), is_prime))

    def nth(self, place: int) -> int:
        """The first prime is 2."""
        if not 1 <= place <= len(self.primes):
            raise LookupError(f"only the first {len(self.primes)} primes are known here")
        return self.primes[place - 1]

    def factor(self, number: int) -> dict[str, object]:
        """Trial division: at once for most numbers, half a minute for a product of large primes."""
        factors = []
        rest = number
        for place, divisor in enumerate(self._divisors()):
            if divisor * divisor > rest:
                break
            # Nothing can interrupt a thread: one that takes long asks whether it is still wanted.
            if place % 10_000 == 0 and cancelled():
                print(f"gave up {number}", flush=True)
                return {}
            while rest % divisor == 0:
                factors.append(divisor)
                rest //= divisor
        return {"factors": [*factors, rest] if rest > 1 else factors, "worker": os.getpid()}

    def _divisors(self) -> Iterator[int]:
        yield from self.primes
        yield from itertools.count(LIMIT + 1, 2)


class Passwords(DirtyApp):
    """Work in C that lets go of the interpreter: here threads are enough, in a single worker."""

    workers = 1
    threads = 4

    def hash(self, password: str) -> str:
        """``salt$hash``; it takes some 50 ms of a core and 16 MiB, and is meant to."""
        salt = secrets.token_hex(8)
        return f"{salt}${self._scrypt(password, salt)}"

    def verify(self, password: str, stored: str) -> bool:
        """Whether it is the one that was hashed."""
        salt, _, expected = stored.partition("$")
        return secrets.compare_digest(self._scrypt(password, salt), expected)

    def _scrypt(self, password: str, salt: str) -> str:
        return hashlib.scrypt(password.encode(), salt=salt.encode(), n=2**14, r=8, p=1).hex()
