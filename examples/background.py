# SPDX-License-Identifier: MIT
"""Work that outlives its request, and still has a parent. ``POST /jobs`` starts a job in the
server's nursery and answers 202 at once; ``GET /jobs/N`` waits for its end. The client may leave:
the job goes on. At a stop the server waits for jobs for up to ``graceful_timeout``; a job that
fails is logged with its traceback, and harms nothing else.

trioserve background:app --app-dir examples
curl -X POST 'http://127.0.0.1:8000/jobs?seconds=2'; curl http://127.0.0.1:8000/jobs/1
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qs

import trio

if TYPE_CHECKING:
    from trioserve.types import Receive, Scope, Send


class Job:
    """Sleeps, for want of anything better to do."""

    def __init__(self, number: int, seconds: float) -> None:
        self.number = number
        self.seconds = seconds
        self.outcome = "cancelled"
        self.ended = trio.Event()

    async def run(self) -> None:
        try:
            if self.seconds < 0:
                raise ValueError(f"job {self.number}: time runs forwards only")
            await trio.sleep(self.seconds)
            self.outcome = "done"
        except ValueError:
            self.outcome = "failed"
            raise
        finally:
            print(f"job {self.number} {self.outcome}", flush=True)
            self.ended.set()


jobs: dict[int, Job] = {}


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] != "http":
        raise RuntimeError("only HTTP is spoken here")
    collection, _, number = scope["path"].removeprefix("/").partition("/")
    if collection != "jobs":
        await answer(send, 404, "try /jobs\n")
    elif scope["method"] == "POST":
        await answer(send, 202, f"job {start_job(scope)}\n")
    elif number.isdigit() and int(number) in jobs:
        job = jobs[int(number)]
        await job.ended.wait()
        await answer(send, 200, f"{job.outcome}\n")
    else:
        await answer(send, 404, "there is no such job\n")


def start_job(scope: Scope) -> int:
    seconds = parse_qs(scope["query_string"].decode()).get("seconds", ["1"])[0]
    job = Job(len(jobs) + 1, float(seconds))
    jobs[job.number] = job
    scope["extensions"]["trioserve"]["nursery"].start_soon(job.run)
    return job.number


async def answer(send: Send, status: int, text: str) -> None:
    headers = [(b"content-type", b"text/plain")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})
