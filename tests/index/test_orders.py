"""Orders and progress: where the agent and the other processes of a server meet."""

from __future__ import annotations

from stablequeue_client.index.index import open_index
from stablequeue_client.shared.wire.inventory import Activity


def test_an_order_waits_until_it_is_done_also_over_a_restart(bench, tmp_path):
    number = bench.index.add_order("rescan", {"root": "abc"}, 600)
    bench.index.close()
    index = open_index(tmp_path / "data", clock=lambda: bench.disk.now)
    for _ in range(2):
        [order] = index.take_orders()
        assert (order.id, order.kind, order.fields) == (number, "rescan", {"root": "abc"})
    index.order_done(number)
    assert index.take_orders() == []
    index.close()


def test_orders_come_in_the_order_they_were_given_and_ids_are_never_used_twice(bench):
    first = bench.index.add_order("sync", {}, 600)
    bench.index.order_done(first)
    numbers = [bench.index.add_order("sync", {}, 600) for _ in range(12)]
    assert [order.id for order in bench.index.take_orders()] == numbers
    assert first not in numbers


def test_an_order_expires(bench):
    bench.index.add_order("rescan", {}, 600)
    bench.disk.pass_time(599)
    assert len(bench.index.take_orders()) == 1
    bench.disk.pass_time(1)
    assert bench.index.take_orders() == []


def test_an_order_of_the_hub_is_taken_once(bench):
    assert bench.index.orders_seen() == 0
    number = bench.index.add_order("sync", {}, 600, hub_order_id=7)
    assert bench.index.add_order("sync", {}, 600, hub_order_id=7) is None
    bench.index.order_done(number)
    assert bench.index.add_order("sync", {}, 600, hub_order_id=7) is None
    assert bench.index.orders_seen() == 7
    assert bench.index.take_orders() == []


def test_another_process_notices_an_order_by_polling(bench, tmp_path):
    other = open_index(tmp_path / "data", repair=False)
    before = bench.index.data_version()
    assert bench.index.data_version() == before
    other.add_order("sync", {}, 600)
    assert bench.index.data_version() != before
    other.close()


def test_progress_is_what_was_written_last(bench, tmp_path):
    assert bench.index.read_progress() is None
    bench.index.write_progress(Activity("hashing", 1, 10, 100, 1000, 30))
    bench.disk.pass_time(1)
    bench.index.write_progress(Activity("hashing", 2, 10, 200, 1000, 27))
    other = open_index(tmp_path / "data", repair=False)
    assert other.read_progress() == Activity("hashing", 2, 10, 200, 1000, 27)
    other.close()


def test_progress_written_for_hours_does_not_let_the_log_grow(bench, tmp_path):
    for number in range(5_000):
        bench.index.write_progress(Activity("hashing", number))
    assert (tmp_path / "data" / "index.sqlite-wal").stat().st_size < 8 * 1024 * 1024
