"""Whose turn it is: compared with a plain list that is sorted anew for each question, and its promises."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from stablequeue_hub.dispatch.fair_queue import (
    AGEING_MS,
    PASSED_MAX_S,
    PASSES_MAX,
    FairQueue,
    QueuedJob,
    aged_priority,
)

SERVERS = ("a", "b")


def waiting(seq: int, **fields: object) -> QueuedJob:
    made = QueuedJob(f"job {seq}", seq, 0, "anna", 0, 0)
    return replace(made, **{"priority": fields.get("base_priority", 0), **fields})  # type: ignore[arg-type]


def queue_of(*jobs: QueuedJob, can: bool = True) -> FairQueue:
    queue = FairQueue()
    queue.set_server("a", lambda _: can)
    for job in jobs:
        queue.put(job)
    return queue


def taken(queue: FairQueue, loaded: str | None = None, now_s: float = 0.0) -> str | None:
    selection = queue.select("a", loaded, now_s)
    if selection is None:
        return None
    queue.record_served("a", selection, now_s)
    return selection.job.job_id


def in_order(queue: FairQueue, loaded: str | None = None) -> list[int]:
    found = []
    while (job_id := taken(queue, loaded)) is not None:
        found.append(int(job_id.split()[1]))
    return found


def test_higher_priority_first_then_first_come() -> None:
    queue = queue_of(
        waiting(1), waiting(2, base_priority=5), waiting(3, base_priority=5), waiting(4, base_priority=-1)
    )
    assert in_order(queue) == [2, 3, 1, 4]


def test_submitters_take_turns_within_a_priority() -> None:
    many = [waiting(seq) for seq in range(1, 6)]
    queue = queue_of(
        *many, waiting(6, submitter="ben"), waiting(7, submitter="ben"), waiting(8, base_priority=1)
    )
    assert in_order(queue) == [8, 6, 1, 7, 2, 3, 4, 5]


def test_what_is_loaded_goes_first_but_the_front_waits_for_no_more_than_its_bound() -> None:
    front = waiting(1, checkpoint="x")
    others = [waiting(seq, checkpoint="y") for seq in range(2, 20)]
    order = in_order(queue_of(front, *others), loaded="y")
    assert order.index(1) == PASSES_MAX
    assert sorted(order) == list(range(1, 20))


def test_nor_longer_than_its_time() -> None:
    queue = queue_of(waiting(1, checkpoint="x"), *(waiting(seq, checkpoint="y") for seq in range(2, 9)))
    assert taken(queue, "y", now_s=0.0) == "job 2"
    assert taken(queue, "y", now_s=PASSED_MAX_S - 1) == "job 3"
    assert taken(queue, "y", now_s=PASSED_MAX_S) == "job 1"


def test_a_loaded_checkpoint_never_beats_a_priority() -> None:
    queue = queue_of(waiting(1, checkpoint="y"), waiting(2, checkpoint="x", base_priority=1))
    assert taken(queue, "y") == "job 2"


def test_each_hour_of_waiting_counts_one() -> None:
    old, new = waiting(1, base_priority=-10), waiting(2, base_priority=9, created_ms=20 * AGEING_MS)
    queue = queue_of(old, new)
    queue.age(18 * AGEING_MS)
    assert queue.jobs_ahead("a", "job 1") == 1
    queue.age(20 * AGEING_MS)
    assert in_order(queue) == [1, 2]
    assert [aged_priority(-10, hours * AGEING_MS) for hours in (0, 1, 19, 20, 500)] == [-10, -9, 9, 10, 10]
    assert aged_priority(3, -AGEING_MS) == 3, "a clock that was set back"


def test_only_for_its_own_submitter() -> None:
    queue = queue_of(waiting(1), waiting(2, submitter="ben"))
    selection = queue.select("a", None, 0.0, only="ben")
    assert selection is not None
    assert selection.job.job_id == "job 2"
    assert queue.select("a", None, 0.0, only="carl") is None


def test_a_job_is_where_it_can_run_only() -> None:
    queue = queue_of(waiting(1, excluded=frozenset("a")), waiting(2))
    queue.set_server("b", lambda kind: kind == 0)
    assert in_order(queue) == [2]
    assert queue.jobs_ahead("a", "job 1") is None
    selection = queue.select("b", None, 0.0)
    assert selection is not None
    assert selection.job.job_id == "job 1"
    assert queue_of(waiting(1), can=False).select("a", None, 0.0) is None
    assert FairQueue().select("a", None, 0.0) is None


def test_place_in_line() -> None:
    queue = queue_of(waiting(1), waiting(2), waiting(3, base_priority=1))
    assert [queue.jobs_ahead("a", f"job {seq}") for seq in (1, 2, 3)] == [1, 2, 0]
    queue.remove("job 3")
    assert queue.jobs_ahead("a", "job 1") == 0
    assert queue.jobs_ahead("a", "job 3") is None


def test_turns_are_each_servers_own() -> None:
    """Whoever is served often elsewhere is not passed by here."""
    queue = queue_of(*(waiting(seq, kind=0) for seq in range(1, 50)))
    queue.set_server("a", lambda kind: kind in (0, 2))
    queue.set_server("b", lambda kind: kind in (1, 2))
    queue.put(waiting(50, kind=1))
    for seq in range(51, 80):
        queue.put(waiting(seq, kind=1, submitter="ben"))
    started = []
    for _ in range(3):
        taken(queue)
        selection = queue.select("b", None, 0.0)
        assert selection is not None
        queue.record_served("b", selection, 0.0)
        started.append(selection.job.job_id)
    assert "job 50" in started[:2]


def test_a_line_that_is_made_anew_goes_on_with_the_turns() -> None:
    queue = queue_of(waiting(1), waiting(2))
    assert taken(queue) == "job 1"
    anew = FairQueue(queue)
    anew.set_server("a", lambda _: True)
    for job in (waiting(2), waiting(3, submitter="ben")):
        anew.put(job)
    assert in_order(anew) == [3, 2]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from("kxy"), st.sampled_from(["anna", "ben", "carl"]), st.booleans()),
        min_size=20,
        max_size=120,
    )
)
def test_no_job_waits_longer_than_is_promised(days: list[tuple[str, str, bool]]) -> None:
    """Jobs of one priority come one by one; a server takes one now and then, and keeps its checkpoint."""
    queue = queue_of()
    waited: dict[str, int] = {}
    bounds: dict[str, int] = {}
    loaded: str | None = None
    everybody = {submitter for _, submitter, _ in days}

    def take() -> bool:
        nonlocal loaded
        selection = queue.select("a", loaded, 0.0)
        if selection is None:
            return False
        queue.record_served("a", selection, 0.0)
        loaded = selection.job.checkpoint
        for job in queue:
            waited[job.job_id] += 1
        job_id = selection.job.job_id
        assert waited[job_id] <= bounds[job_id], job_id
        return True

    for seq, (checkpoint, submitter, takes) in enumerate(days):
        mine = 1 + sum(job.submitter == submitter for job in queue)
        job = waiting(seq, checkpoint=checkpoint, submitter=submitter)
        waited[job.job_id], bounds[job.job_id] = 0, mine * len(everybody) * (1 + PASSES_MAX)
        queue.put(job)
        if takes:
            take()
    while take():
        pass
    assert len(queue) == 0


jobs = st.builds(
    waiting,
    st.integers(1, 30),
    base_priority=st.integers(-2, 2),
    submitter=st.sampled_from(["anna", "ben", "carl"]),
    kind=st.integers(0, 2),
    checkpoint=st.sampled_from([None, "x", "y"]),
    excluded=st.sampled_from([frozenset(), frozenset("a"), frozenset("b")]),
)
steps = st.one_of(
    jobs,
    st.tuples(st.just("remove"), st.integers(1, 30)),
    st.tuples(st.just("take"), st.sampled_from(SERVERS)),
    st.tuples(st.just("can"), st.sampled_from(SERVERS), st.frozensets(st.integers(0, 2))),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(steps, max_size=60))
def test_the_line_agrees_with_a_plain_list(done: list[object]) -> None:
    queue, plain = FairQueue(), {}
    can: dict[str, frozenset[int]] = {}
    turns: dict[str, dict[str, int]] = {"a": {}, "b": {}}
    for number, step in enumerate(done):
        if isinstance(step, QueuedJob):
            plain[step.job_id] = step = replace(step)
            queue.put(replace(step))
        elif step[0] == "remove":  # type: ignore[index]
            plain.pop(f"job {step[1]}", None)  # type: ignore[index]
            queue.remove(f"job {step[1]}")  # type: ignore[index]
        elif step[0] == "can":  # type: ignore[index]
            _, server, kinds = step  # type: ignore[misc]
            can[server] = kinds
            queue.set_server(server, kinds.__contains__)
        else:
            server = step[1]  # type: ignore[index]
            served = turns[server]
            fit = [
                job
                for job in plain.values()
                if job.kind in can.get(server, ()) and server not in job.excluded
            ]
            fit.sort(key=lambda job: (-job.priority, served.get(job.submitter, -1)))
            selection = queue.select(server, None, 0.0)
            assert (selection is None) == (not fit)
            if selection is not None:
                first = [j for j in fit if j.priority == fit[0].priority]
                turn = min(served.get(job.submitter, -1) for job in first)
                expected = min(
                    (job for job in first if served.get(job.submitter, -1) == turn), key=lambda job: job.seq
                )
                assert selection.job.job_id == expected.job_id
                queue.record_served(server, selection, 0.0)
                served[expected.submitter] = number
                del plain[expected.job_id]
        assert len(queue) == len(plain)


@settings(max_examples=200, deadline=None)
@given(st.lists(jobs, max_size=25), st.lists(st.sampled_from(["anna", "ben", "carl"]), max_size=4))
def test_the_place_that_is_told_is_the_one_in_which_a_job_is_given(
    several: list[QueuedJob], served_before: list[str]
) -> None:
    queue = queue_of()
    for number, submitter in enumerate(served_before):
        queue.put(waiting(100 + number, submitter=submitter))
        assert taken(queue) == f"job {100 + number}"
    for job in several:
        queue.put(replace(job))
    told = {job.job_id: queue.jobs_ahead("a", job.job_id) for job in queue}
    own = {job.job_id: queue.jobs_ahead("a", job.job_id, "ben") for job in queue}
    given = [f"job {seq}" for seq in in_order(queue)]
    assert {job_id: place for job_id, place in told.items() if place is not None} == {
        job_id: place for place, job_id in enumerate(given)
    }
    bens = [job.job_id for job in sorted(several, key=lambda one: one.seq) if job.submitter == "ben"]
    assert all(own[job_id] is None for job_id in own if job_id not in bens)
