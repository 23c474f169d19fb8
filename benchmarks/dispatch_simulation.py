"""How long jobs wait: the hub's line against jobs pinned to a server when they are submitted.

Four servers of different speed, each with most of eight checkpoints; jobs come in bursts from three people.
Both ways see the same jobs at the same times, with the same costs: a picture, and a switch of the checkpoint.
Pinned means what people do by hand: the server with the shortest queue among those that have the models.
The line is the hub's own code (``stablequeue_hub.dispatch``), asked by each server as it becomes free.

    python benchmarks/dispatch_simulation.py [--switch-s SECONDS --picture-s SECONDS]

By default with costs that users' logs show: Stable Diffusion 1.5 on A1111 ("Weights loaded in 6.9s", then 28
steps in 6 s: AUTOMATIC1111/stable-diffusion-webui issue 8804), SDXL on Forge ("Model loaded in 40.9s", issue
2735 of lllyasviel/stable-diffusion-webui-forge; 50 steps in 15 s, its issue 739). Or with your own. Exit code
1 when p95 is not at least 40 % lower, or a bound is broken.
"""

from __future__ import annotations

import argparse
import heapq
import random
import statistics
import sys
from collections import defaultdict, deque
from dataclasses import dataclass

from stablequeue_hub.dispatch.fair_queue import PASSES_MAX, FairQueue, QueuedJob

SERVERS = 4
CHECKPOINTS = 8
PEOPLE = ("anna", "ben", "carl")
SEEDS = range(7)
AIM = 0.40
MEASURED = {"SD 1.5": (6.0, 6.9), "SDXL": (15.0, 40.9)}
"""Seconds of a picture, and of a switch of the checkpoint."""


@dataclass(frozen=True)
class Job:
    """One job of the day. Times in seconds."""

    number: int
    at: float
    checkpoint: str
    person: str


@dataclass(frozen=True)
class Server:
    """What it has, and how much slower than the fastest it is."""

    name: str
    has: frozenset[str]
    slowness: float


@dataclass(frozen=True)
class Costs:
    """Seconds on the fastest server."""

    picture: float
    switch: float

    def of(self, server: Server, loaded: str | None, wanted: str) -> float:
        return server.slowness * (self.picture + (self.switch if loaded != wanted else 0.0))


def a_day(chance: random.Random, costs: Costs) -> tuple[list[Server], list[Job]]:
    """Servers and jobs; together the jobs keep the servers busy for most of the time."""
    names = [f"checkpoint {number}" for number in range(CHECKPOINTS)]
    servers = [
        Server(f"server {number}", frozenset(chance.sample(names, 5)), slowness)
        for number, slowness in enumerate((1.0, 1.0, 1.5, 2.5))
    ]
    held = sorted(set().union(*(server.has for server in servers)))
    power = sum(1 / server.slowness for server in servers)
    jobs: list[Job] = []
    at = 0.0
    while len(jobs) < 1_500:
        person, favourite = chance.choice(PEOPLE), chance.choice(held)
        size = chance.choice((1, 1, 2, 4, 10, 20))
        for _ in range(size):
            checkpoint = favourite if chance.random() < 0.8 else chance.choice(held)
            jobs.append(Job(len(jobs), at, checkpoint, person))
        at += size * costs.picture / power * chance.uniform(0.8, 1.9)
    return servers, jobs


def pinned(servers: list[Server], jobs: list[Job], costs: Costs) -> dict[int, float]:
    """Waits by job: each goes to the shortest queue at its submission, and stays there."""
    ends: dict[str, deque[float]] = defaultdict(deque)
    loaded: dict[str, str | None] = {}
    waits = {}
    for job in jobs:
        able = [server for server in servers if job.checkpoint in server.has]
        for server in able:
            while ends[server.name] and ends[server.name][0] <= job.at:
                ends[server.name].popleft()
        server = min(able, key=lambda one: (len(ends[one.name]), one.slowness))
        start = max(job.at, ends[server.name][-1] if ends[server.name] else job.at)
        waits[job.number] = start - job.at
        ends[server.name].append(start + costs.of(server, loaded.get(server.name), job.checkpoint))
        loaded[server.name] = job.checkpoint
    return waits


def in_line(servers: list[Server], jobs: list[Job], costs: Costs) -> tuple[dict[int, float], int]:
    """Waits by job with the hub's line, and the most often that a job was passed over."""
    line = FairQueue()
    kinds = {name: number for number, name in enumerate(sorted({job.checkpoint for job in jobs}))}
    for server in servers:
        able = {kinds[name] for name in server.has if name in kinds}
        line.set_server(server.name, able.__contains__)
    loaded: dict[str, str | None] = dict.fromkeys((server.name for server in servers), None)
    idle = {server.name: server for server in servers}
    busy: list[tuple[float, str]] = []
    by_name = {server.name: server for server in servers}
    waits, passed = {}, 0

    def hand_over(now: float) -> None:
        nonlocal passed
        for name in sorted(idle, key=lambda one: idle[one].slowness):
            choice = line.select(name, loaded[name], now)
            if choice is None:
                continue
            line.record_served(name, choice, now)
            passed = max(passed, choice.passed.passed if choice.passed else 0)
            job = jobs[choice.job.seq]
            waits[job.number] = now - job.at
            took = costs.of(idle.pop(name), loaded[name], job.checkpoint)
            loaded[name] = job.checkpoint
            heapq.heappush(busy, (now + took, name))

    def until(moment: float) -> None:
        while busy and busy[0][0] <= moment:
            now, name = heapq.heappop(busy)
            idle[name] = by_name[name]
            hand_over(now)

    for job in jobs:
        until(job.at)
        kind = kinds[job.checkpoint]
        line.put(QueuedJob(str(job.number), job.number, 0, job.person, kind, 0, job.checkpoint))
        hand_over(job.at)
    until(float("inf"))
    return waits, passed


def p95(waits: dict[int, float]) -> float:
    return statistics.quantiles(waits.values(), n=20)[-1]


def compare(name: str, costs: Costs) -> bool:
    """Both ways for several days; whether the aim is reached and the bound holds."""
    lower, bound_holds = [], True
    for seed in SEEDS:
        servers, jobs = a_day(random.Random(seed), costs)
        before = pinned(servers, jobs, costs)
        after, passed = in_line(servers, jobs, costs)
        assert sorted(after) == sorted(before) == list(range(len(jobs)))
        lower.append(1 - p95(after) / p95(before))
        bound_holds &= passed <= PASSES_MAX
        medians = statistics.median(before.values()), statistics.median(after.values())
        print(
            f"{name}, day {seed}: p95 {p95(before):6.0f} s pinned, {p95(after):6.0f} s in line;"
            f" median {medians[0]:5.0f} and {medians[1]:5.0f} s; passed over at most {passed} times"
        )
    found = statistics.median(lower)
    ok = found >= AIM and bound_holds
    verdict = "ok" if ok else "MISSED"
    print(
        f"{name}: p95 of the wait lower by {found:.0%} (median of {len(lower)} days) >= {AIM:.0%} {verdict}"
    )
    return ok


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--switch-s", type=float)
    parser.add_argument("--picture-s", type=float)
    options = parser.parse_args()
    measured = MEASURED
    if options.switch_s is not None and options.picture_s is not None:
        measured = {"given": (options.picture_s, options.switch_s)}
    reached = [compare(name, Costs(*costs)) for name, costs in measured.items()]
    return 0 if all(reached) else 1


if __name__ == "__main__":
    sys.exit(main())
