"""Sequence, digest, tombstones: what the hub is told adds up to what the index has, whatever got lost."""

from __future__ import annotations

import random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from stablequeue_client.index import change_log
from stablequeue_client.index.inventory import SyncContent, claims_to_send, file_entry, sync_request
from stablequeue_client.shared.errors import TooLargeError
from stablequeue_client.shared.model_files.model_file import Claim, Digests
from stablequeue_client.shared.wire.inventory import FileEntry, WireClaim, digest_sum, entry_dict, row_digest


def everything(index) -> dict:
    content = index.full()
    return {
        **{(entry.root, None): entry_dict(entry) for entry in content.roots},
        **{(entry.root, entry.path): entry_dict(entry) for entry in content.upserts},
    }


def make_machine(make_bench, new_disk, content, new_hub):
    """A machine per test; the index is a real one."""
    numbers = iter(range(10**6))
    paths = st.sampled_from([f"{folder}{name}.safetensors" for folder in ("", "a/", "b/") for name in "xyz"])

    class Machine(RuleBasedStateMachine):
        @initialize()
        def start(self):
            self.bench = make_bench(new_disk(), f"machine{next(numbers)}")
            self.hub = new_hub()
            self.last = 0
            self.backup = None

        @rule(path=paths, number=st.integers(0, 3))
        def write(self, path, number):
            self.bench.disk.write(path, content(str(number)))

        @rule(path=paths, number=st.integers(0, 3))
        def overwrite(self, path, number):
            if path in self.bench.disk.files:
                self.bench.disk.overwrite(path, content(str(number)))

        @rule(path=paths, other=paths)
        def rename(self, path, other):
            if path in self.bench.disk.files and path != other:
                self.bench.disk.rename(path, other)

        @rule(path=paths)
        def remove(self, path):
            self.bench.disk.files.pop(path, None)

        @rule(seconds=st.sampled_from([1, 6, 700]))
        def pass_time(self, seconds):
            self.bench.disk.pass_time(seconds)

        @rule(connected=st.booleans())
        def scan(self, connected):
            self.bench.scan(health="healthy" if connected else "unreachable")

        @rule()
        def hash_some(self):
            self.bench.hash_due()

        @rule()
        def accept(self):
            self.bench.index.accept_removals(self.bench.disk.root.root_id)

        @rule()
        def forget(self):
            self.bench.index.forget_root(self.bench.disk.root.root_id)

        @rule(answered=st.booleans())
        def sync(self, answered):
            self.hub.take(self.bench.index, acknowledge=answered)
            assert self.hub.entries == everything(self.bench.index)

        @precondition(lambda self: self.hub.sequence)
        @rule()
        def back_the_hub_up(self):
            self.backup = (dict(self.hub.entries), self.hub.index_id, self.hub.sequence)

        @precondition(lambda self: self.backup)
        @rule()
        def restore_the_hub(self):
            self.hub.entries, self.hub.index_id, self.hub.sequence = self.backup
            self.hub.entries = dict(self.hub.entries)

        @rule()
        def new_identity(self):
            before = self.bench.index.index_id
            assert self.bench.index.new_identity() != before

        @invariant()
        def digest_and_sequence_describe_the_rows(self):
            entries = everything(self.bench.index)
            assert digest_sum(map(row_digest, entries.values())) == self.bench.index.digest()
            assert self.bench.index.sequence() >= self.last
            self.last = self.bench.index.sequence()

        @invariant()
        def no_ready_row_is_wrong(self):
            for row in self.bench.index.rows():
                assert row.state != "ready" or row.sha256

        def teardown(self):
            self.bench.index.close()

    return Machine


def test_deltas_always_lead_to_the_full_inventory(make_bench, new_disk, content, hub):
    machine = make_machine(make_bench, new_disk, content, type(hub))
    run = machine.TestCase
    run.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
    run().runTest()


def test_a_delta_without_tombstones_would_leave_dead_rows_on_the_hub(bench, content, hub):
    """The broken variant: removals are forgotten. The hub's digest check, as in the contract, sees it."""
    bench.disk.write("a", content("a"))
    bench.disk.write("b", content("b"))
    bench.settle()
    hub.take(bench.index)
    bench.disk.remove("a")
    bench.scan()
    with bench.index._database.write() as connection:
        connection.execute("DELETE FROM tombstones")
    with pytest.raises(AssertionError):
        hub.take(bench.index)


def test_sequence_grows_by_one_per_change_and_not_by_what_no_hub_sees(bench, content):
    bench.disk.write("a", content("a"))
    bench.disk.pass_time(10)
    bench.scan()
    assert bench.index.sequence() == 2  # the root and the file
    bench.hash_due()
    assert bench.index.sequence() == 3
    assert bench.row("a").sequence == 3
    bench.disk.set_mtime("a", 5)
    bench.disk.pass_time(10)
    bench.scan()
    bench.hash_due()
    assert bench.index.sequence() == 5  # unhashed, ready again


def test_a_delta_holds_what_changed_since_and_a_full_one_everything(bench, content):
    for name in "abc":
        bench.disk.write(name, content(name))
    bench.settle()
    index = bench.index
    index.acknowledge("hub", index.index_id, index.sequence())
    bench.disk.remove("a")
    bench.disk.rename("b", "d")
    bench.scan()
    delta = index.delta(index.acked("hub"))
    assert delta.mode == "delta"
    assert [entry.path for entry in delta.upserts] == ["d"]
    assert [removal.path for removal in delta.removals] == ["a", "b"]
    assert [entry.path for entry in index.full().upserts] == ["c", "d"]
    assert (index.full().mode, index.full().base_sequence, index.full().removals) == ("full", 0, ())


def test_what_is_not_all_known_any_more_is_sent_in_full(bench, content):
    bench.disk.write("a", content("a"))
    bench.settle()
    index = bench.index
    assert index.delta(index.sequence() + 1).mode == "full", "a place this index never was"
    index.acknowledge("hub", index.index_id, index.sequence())
    assert index.delta(index.sequence() - 1).mode == "full", "tombstones before it are gone"
    assert index.delta(index.sequence()).mode == "delta"


def test_a_file_that_comes_back_has_no_tombstone(bench, content):
    bench.disk.write("a", content("a"))
    bench.disk.write("b", content("b"))
    bench.settle()
    bench.index.acknowledge("hub", bench.index.index_id, bench.index.sequence())
    bench.disk.remove("a")
    bench.scan()
    bench.disk.write("a", content("a"))
    bench.scan()
    delta = bench.index.delta(bench.index.acked("hub"))
    assert delta.removals == ()
    assert [entry.path for entry in delta.upserts] == ["a"]


def test_an_answer_to_a_former_identity_is_ignored(bench, content):
    bench.disk.write("a", content("a"))
    bench.settle()
    former = bench.index.index_id
    bench.index.new_identity()
    bench.index.acknowledge("hub", former, 3)
    assert bench.index.acked("hub") is None
    assert bench.index.delta(0).mode == "full"


def test_another_hub_starts_with_everything(bench, content):
    bench.disk.write("a", content("a"))
    bench.settle()
    bench.index.acknowledge("one", bench.index.index_id, bench.index.sequence())
    bench.index.acknowledge("two", bench.index.index_id, bench.index.sequence())
    assert bench.index.acked("one") is None


def test_the_request_adds_up_to_its_digest_as_the_hub_computes_it(bench, content):
    for name in "abc":
        bench.disk.write(name, content(name))
    bench.settle()
    import msgspec

    request = sync_request(bench.index.full())
    sent = [msgspec.json.decode(raw) for raw in (*request.roots, *request.upserts)]
    assert f"{digest_sum(map(row_digest, sent)):064x}" == request.digest


def test_an_inventory_that_is_too_large_is_refused_in_words(bench):
    entry = FileEntry("r", "p", "lora", 1, "unhashed")
    content = SyncContent("id", "full", 0, 1, 0, (), (entry,) * 50_001, ())
    with pytest.raises(TooLargeError, match="50,001 rows") as raised:
        sync_request(content)
    assert "second agent" in raised.value.remedy


def test_a_delta_too_large_for_one_request_is_sent_in_full(bench, content):
    for name in "abcdefgh":
        bench.disk.write(name, content(name))
    bench.settle()
    bench.index.acknowledge("hub", bench.index.index_id, bench.index.sequence())
    for name in "abcdef":
        bench.disk.remove(name)
    bench.scan()
    base = bench.index.acked("hub")
    with bench.index._database.read() as connection:
        assert change_log.content_since(connection, base, limit=5).mode == "full"
        assert change_log.content_since(connection, base, limit=6).mode == "delta"


SHA, OTHER, PAYLOAD = "ab" * 32, "cd" * 32, "ef" * 32
COMPUTED = Digests(sha256=SHA, autov1="12345678")


@pytest.mark.parametrize(
    ("claim", "sent"),
    [
        (Claim("sidecar", "sha256", SHA), False),
        (Claim("sidecar", "sha256", OTHER), True),
        (Claim("civitai", "autov2", SHA[:10]), False),
        (Claim("civitai", "autov2", OTHER[:10]), True),
        (Claim("civitai", "autov1", "12345678"), False),
        (Claim("header", "autov3", PAYLOAD[:12]), True),
        (Claim("civitai", "blake3", OTHER), True),
    ],
)
def test_a_claim_is_sent_while_nothing_computed_confirms_it(claim, sent):
    assert (claims_to_send([claim], COMPUTED) != ()) == sent
    assert claims_to_send([claim], Digests()) == (WireClaim(claim.source, claim.digest, claim.value),)


def test_a_payload_digest_confirms_an_autov3_claim():
    digests = Digests(sha256=SHA, payload_sha256=PAYLOAD)
    assert claims_to_send([Claim("header", "autov3", PAYLOAD[:12])], digests) == ()


def test_no_more_claims_are_sent_than_the_hub_takes_and_contradictions_come_first():
    plain = [Claim("header", "autov3", f"{number:012x}") for number in range(30)]
    contradiction = Claim("sidecar", "sha256", OTHER)
    sent = claims_to_send([*plain, contradiction], COMPUTED)
    assert len(sent) == 16
    assert sent[0].value == OTHER


def test_an_entry_has_digests_only_when_they_were_computed(bench, content):
    bench.disk.write("a", content("a"))
    bench.disk.pass_time(10)
    bench.scan()
    assert file_entry(bench.row("a")).digests is None
    bench.hash_due()
    digests = file_entry(bench.row("a")).digests
    assert digests.sha256 == content("a").digests.sha256
    assert digests.autov3 == content("a").digests.autov3
    assert len(digests.autov3) == 12


def test_rows_of_any_order_have_the_same_digest(make_bench, new_disk, content):
    """The digest says what the inventory is, not how it came about."""
    digests = set()
    for seed in range(3):
        bench = make_bench(new_disk(), f"order{seed}")
        names = list("abcdef")
        random.Random(seed).shuffle(names)
        for name in names:
            bench.disk.write(name, content(name))
            bench.settle()
        digests.add(bench.index.digest())
    assert len(digests) == 1
