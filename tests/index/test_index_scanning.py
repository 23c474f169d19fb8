"""What a scan does to the rows: new, changed, fresh, moved, linked, set aside, unreadable files."""

from __future__ import annotations

import pytest

from stablequeue_client.files.scanner import Root, RootScan, ScanReport, Skipped
from stablequeue_client.index.rows import TODO_NOTHING, TODO_RECHECK
from stablequeue_client.shared.model_files.model_file import Claim

YEAR = 365 * 86_400


def test_a_file_is_hashed_only_after_its_quiet_period(bench, content):
    bench.disk.write("a.safetensors", content("a"))
    bench.disk.pass_time(1)
    bench.scan()
    row = bench.row("a.safetensors")
    assert (row.state, row.reason) == ("partial", "written a moment ago")
    assert bench.hash_due() == 0
    assert bench.index.pending_hashes()[0].not_before == pytest.approx(bench.disk.now + 4, abs=0.01)
    bench.disk.pass_time(4.1)
    assert bench.hash_due() == 1  # the second look is the stat at opening: no second scan is needed
    assert bench.row("a.safetensors").state == "ready"


def test_a_stamp_in_the_future_does_not_keep_a_file_out(bench, content):
    bench.disk.write("a.safetensors", content("a"))
    bench.disk.set_mtime("a.safetensors", int((bench.disk.now + YEAR) * 1e9))
    bench.disk.pass_time(30)
    bench.scan()
    assert bench.row("a.safetensors").state == "partial"
    bench.disk.pass_time(6)
    bench.scan()
    assert bench.row("a.safetensors").state == "unhashed"
    bench.hash_due()
    assert bench.row("a.safetensors").racy
    hashed = 0
    for _ in range(5):
        bench.disk.pass_time(3600)
        bench.scan()
        hashed += bench.hash_due()
    assert hashed == 1, "once more for certainty, then never again"
    assert bench.row("a.safetensors").state == "ready"


def test_a_clock_set_back_changes_nothing_in_the_inventory(bench, content):
    for number in range(5):
        bench.disk.write(f"{number}.safetensors", content(str(number)))
    bench.settle()
    before = bench.index.position()
    for jump in (-3600, -10 * YEAR, 20 * YEAR, 3600):
        bench.disk.pass_time(jump)
        bench.scan()
        assert bench.hash_due() == 0
    assert bench.index.position() == before


def test_a_clock_set_back_does_not_keep_a_new_file_out(bench, content):
    bench.disk.write("a.safetensors", content("a"))
    bench.scan()
    bench.disk.pass_time(-YEAR)
    bench.settle()
    assert bench.row("a.safetensors").state == "ready"


@pytest.mark.parametrize("change", ["bytes", "mtime", "older mtime", "ctime", "inode", "size"])
def test_any_other_stamp_takes_the_digests_away_at_once(bench, content, change):
    path = "a.safetensors"
    bench.disk.write(path, content("old"))
    bench.settle()
    stat = bench.disk.stat(path)
    bench.disk.pass_time(100)
    match change:
        case "bytes":
            bench.disk.overwrite(path, content("new"))
        case "mtime":
            bench.disk.set_mtime(path, stat.mtime_ns + 1)
        case "older mtime":
            bench.disk.set_mtime(path, stat.mtime_ns - 10**15)
        case "ctime":
            bench.disk.set_mtime(path, stat.mtime_ns)
        case "inode":
            bench.disk.write(path, content("new"))
            bench.disk.set_mtime(path, stat.mtime_ns)
        case "size":
            bench.disk.overwrite(path, content("new"), size=7)
    bench.disk.pass_time(1)
    assert bench.scan().changed == 1
    row = bench.row(path)
    assert row.state == "partial"
    assert row.digests == type(row.digests)()
    bench.settle()
    assert bench.row(path).state == "ready"
    assert bench.wrong_rows() == []


def test_an_unchanged_scan_writes_nothing(bench, content, tmp_path):
    for number in range(300):
        bench.disk.write(f"{number}.safetensors", content(str(number)))
    bench.settle()
    log = tmp_path / "data" / "index.sqlite-wal"
    before = log.stat().st_size, log.stat().st_mtime_ns, bench.index.position()
    bench.disk.pass_time(3600)
    outcome = bench.scan()
    assert outcome == type(outcome)()
    assert (log.stat().st_size, log.stat().st_mtime_ns, bench.index.position()) == before


def test_a_moved_file_keeps_its_digests_and_is_hashed_again(bench, content):
    bench.disk.write("a.safetensors", content("a"))
    bench.settle()
    sha256 = bench.row("a.safetensors").sha256
    bench.disk.rename("a.safetensors", "sub/b.safetensors")
    outcome = bench.scan()
    assert (outcome.renamed, outcome.removed, outcome.added) == (1, 0, 0)
    assert bench.row("a.safetensors") is None
    row = bench.row("sub/b.safetensors")
    assert (row.state, row.sha256, row.todo) == ("ready", sha256, TODO_RECHECK)
    assert bench.index.pending_hashes()[0].recheck
    bench.settle()
    assert bench.row("sub/b.safetensors").todo == TODO_NOTHING


def test_a_moved_file_with_another_sample_is_a_new_file(bench, content):
    bench.disk.write("a.safetensors", content("a"))
    bench.settle()
    stat = bench.disk.stat("a.safetensors")
    bench.disk.rename("a.safetensors", "b.safetensors")
    bench.disk.overwrite("b.safetensors", content("other"))
    bench.disk.set_mtime("b.safetensors", stat.mtime_ns)
    bench.disk.pass_time(10)
    bench.scan()
    assert (bench.row("b.safetensors").state, bench.row("b.safetensors").sha256) == ("unhashed", None)


def test_bytes_changed_behind_a_rename_are_found_by_the_second_hash(bench, content):
    bench.disk.write("a.safetensors", content("a", "one"))
    bench.settle()
    stat = bench.disk.stat("a.safetensors")
    bench.disk.rename("a.safetensors", "b.safetensors")
    bench.disk.overwrite("b.safetensors", content("a", "two"))
    bench.disk.set_mtime("b.safetensors", stat.mtime_ns)
    bench.scan()
    assert bench.row("b.safetensors").sha256 == content("a", "one").digests.sha256
    bench.settle()
    assert bench.wrong_rows() == []


def test_two_files_that_swap_their_names_swap_their_digests(bench, content):
    for name in "ab":
        bench.disk.write(name, content(name))
    bench.settle()
    bench.disk.rename("a", "c")
    bench.disk.rename("b", "a")
    bench.disk.rename("c", "b")
    bench.scan()
    assert bench.wrong_rows() == []
    assert {bench.row(name).state for name in "ab"} == {"ready"}


def test_hard_links_are_hashed_once_and_share_the_digests(bench, content):
    bench.disk.write("a.safetensors", content("a"))
    bench.disk.link("a.safetensors", "b.safetensors")
    bench.disk.pass_time(10)
    bench.scan()
    [pending] = bench.index.pending_hashes()
    assert {pending.path, *(path for _, path in pending.aliases)} == {"a.safetensors", "b.safetensors"}
    assert bench.hash_due() == 1
    assert [row.sha256 for row in bench.index.rows()] == [content("a").digests.sha256] * 2


def test_a_link_made_later_needs_no_reading_when_it_left_the_stamps_alone(bench, content):
    bench.disk.write("a.safetensors", content("a"))
    bench.settle()
    bench.disk.files["alias.safetensors"] = bench.disk.files["a.safetensors"]  # a symbolic link
    bench.scan()
    row = bench.row("alias.safetensors")
    assert (row.state, row.sha256) == ("ready", content("a").digests.sha256)
    assert bench.index.pending_hashes() == []


def test_digests_never_pass_to_a_second_live_path_of_the_inode(bench, content):
    bench.disk.write("a", content("a"))
    bench.settle()
    number = bench.disk.files.pop("a")
    bench.disk.write("b", content("b"), size=1000, inode=number)  # the freed inode, used again
    bench.disk.set_mtime("b", int(1_700_000_000.0 * 1e9))
    bench.disk.link("b", "c")
    bench.settle()
    assert bench.wrong_rows() == []


def test_a_download_in_progress_is_not_hashed(bench, content):
    bench.disk.write("a.safetensors", content("a"))
    bench.settle()
    bench.disk.partial.add("a.safetensors")
    bench.scan()
    row = bench.row("a.safetensors")
    assert (row.state, row.sha256) == ("partial", None)
    assert bench.index.pending_hashes() == []
    bench.disk.partial.clear()
    bench.settle()
    assert bench.row("a.safetensors").state == "ready"


def test_a_set_aside_file_keeps_its_digests_and_its_state(bench, content):
    bench.disk.write("a.safetensors", content("a"))
    bench.settle()
    bench.disk.rename("a.safetensors", "a.safetensors.corrupted")
    bench.settle()
    row = bench.row("a.safetensors.corrupted")
    assert (row.state, row.sha256) == ("set_aside", content("a").digests.sha256)
    bench.disk.rename("a.safetensors.corrupted", "a.safetensors")
    bench.scan()
    assert bench.row("a.safetensors").state == "ready"


def test_a_set_aside_file_with_a_bad_header_stays_set_aside_and_says_why(bench, content):
    bench.disk.write("a.safetensors.corrupted", content("a"))
    bench.disk.pass_time(10)
    bench.scan()
    [pending] = bench.index.pending_hashes()
    bench.index.record_problem(pending, "corrupt", "it is shorter than its header says")
    for _ in range(2):
        row = bench.row("a.safetensors.corrupted")
        assert (row.state, row.reason, row.todo) == ("set_aside", "it is shorter than its header says", 0)
        bench.disk.pass_time(3600)
        bench.scan()


@pytest.mark.parametrize("state", ["busy", "unreadable", "unstable"])
def test_a_file_that_could_not_be_read_is_tried_again(bench, content, state):
    bench.disk.write("a.safetensors", content("a"))
    bench.disk.pass_time(10)
    bench.scan()
    [pending] = bench.index.pending_hashes()
    assert bench.index.record_problem(pending, state, "somebody holds it", retry_s=60)
    row = bench.row("a.safetensors")
    assert (row.state, row.reason) == (state, "somebody holds it")
    assert bench.index.pending_hashes()[0].not_before == pytest.approx(bench.disk.now + 60, abs=0.01)
    sequence = bench.index.sequence()
    bench.disk.pass_time(61)
    bench.scan()
    assert bench.index.sequence() == sequence
    bench.hash_due()
    assert bench.row("a.safetensors").state == "ready"


def test_a_corrupt_file_waits_for_a_change(bench, content):
    bench.disk.write("a.safetensors", content("a"))
    bench.disk.pass_time(10)
    bench.scan()
    [pending] = bench.index.pending_hashes()
    bench.index.record_problem(pending, "corrupt", "truncated")
    bench.disk.pass_time(3600)
    bench.scan()
    assert bench.index.pending_hashes() == []
    assert bench.row("a.safetensors").state == "corrupt"
    bench.disk.overwrite("a.safetensors", content("whole"))
    bench.settle()
    assert bench.row("a.safetensors").state == "ready"


def test_a_busy_file_that_was_hashed_before_stays_as_it_is(bench, content):
    bench.disk.write("a.safetensors", content("a"))
    bench.settle()
    bench.disk.rename("a.safetensors", "b.safetensors")
    bench.scan()
    [pending] = bench.index.pending_hashes()
    bench.index.record_problem(pending, "busy", "in use", retry_s=30)
    row = bench.row("b.safetensors")
    assert (row.state, row.sha256) == ("ready", content("a").digests.sha256)
    assert bench.index.pending_hashes()[0].not_before > bench.disk.now


def test_a_known_file_that_cannot_be_looked_at_keeps_its_row(bench, content):
    bench.disk.write("a.safetensors", content("a"))
    bench.disk.write("b.safetensors", content("b"))
    bench.settle()
    bench.scan(skipped=(Skipped("a.safetensors", "file_unreadable", "Permission denied"),))
    row = bench.row("a.safetensors")
    assert (row.state, row.reason) == ("unreadable", "Permission denied")
    bench.scan()
    assert bench.row("a.safetensors").state == "ready"
    assert bench.index.pending_hashes() == []


def test_a_hash_of_what_the_file_was_before_is_not_stored(bench, content):
    bench.disk.write("a.safetensors", content("a"))
    bench.disk.pass_time(10)
    bench.scan()
    [pending] = bench.index.pending_hashes()
    result = bench.disk.hash(pending)
    bench.disk.overwrite("a.safetensors", content("b"))
    bench.scan()
    assert not bench.index.record_hash(pending, result, {}, ())
    newer = bench.disk.hash(pending)
    assert not bench.index.record_hash(pending, newer, {}, ())
    assert bench.row("a.safetensors").sha256 is None


def test_inodes_that_change_by_themselves_are_left_out_for_that_root(bench, content):
    for number in range(10):
        bench.disk.write(f"{number}.safetensors", content(str(number)))
    bench.settle()
    for _ in range(3):
        for path, number in list(bench.disk.files.items()):
            moved = bench.disk.inodes.pop(number)
            bench.disk.inodes[number + 5000] = type(moved)(
                moved.content, moved.size, moved.mtime_ns, moved.ctime_ns, number + 5000
            )
            bench.disk.files[path] = number + 5000
        bench.scan()
        assert {row.state for row in bench.index.rows()} == {"ready"}
        assert bench.index.pending_hashes() == []
    assert bench.index.roots()[0].inodes == 0
    bench.disk.pass_time(10)
    bench.disk.overwrite("3.safetensors", content("new"))
    bench.settle()
    assert bench.wrong_rows() == []


def test_names_and_stamps_beyond_what_sqlite_holds_are_kept(bench, content):
    bench.disk.write("a\\x01b\\xFF.safetensors", content("a"), inode=2**64 - 3)
    bench.disk.set_mtime("a\\x01b\\xFF.safetensors", 2**63 + 5)
    bench.settle()
    bench.settle()
    [row] = bench.index.rows()
    assert (row.state, row.inode) == ("ready", -3)
    assert bench.index.pending_hashes() == []


def test_autov3_is_wanted_when_one_name_of_a_file_is_a_lora(bench, content, new_disk):
    loras = new_disk(kind="lora", seed=2)
    bench.disk.write("a.safetensors", content("a"))
    loras.files, loras.inodes, loras.now = dict(bench.disk.files), bench.disk.inodes, bench.disk.now
    both = ScanReport((bench.disk.scan(), loras.scan()))
    bench.disk.pass_time(10)
    bench.index.apply_scan(both, bench.disk.now)
    [pending] = bench.index.pending_hashes()
    assert pending.want_payload


def test_metadata_is_kept_once_per_content_and_goes_with_the_last_file(bench, content):
    bench.disk.write("a.safetensors", content("same"))
    bench.disk.write("b.safetensors", content("same"))
    bench.settle()
    sha256 = content("same").digests.sha256
    assert set(bench.index.metadata_of(sha256)) == {"title"}
    bench.disk.remove("a.safetensors")
    bench.scan()
    assert bench.index.metadata_of(sha256) is not None
    bench.disk.write("c.safetensors", content("c"))
    bench.disk.remove("b.safetensors")
    bench.scan()
    assert bench.index.metadata_of(sha256) is None


def test_claims_and_base_model_are_kept_with_the_row(bench, content):
    bench.disk.write("a.safetensors", content("a"))
    bench.disk.pass_time(10)
    bench.scan()
    [pending] = bench.index.pending_hashes()
    claims = (Claim("civitai", "sha256", "ab" * 32), Claim("sidecar", "autov2", "cd" * 5))
    bench.index.record_hash(pending, bench.disk.hash(pending), {}, claims, base_model="SDXL")
    row = bench.row("a.safetensors")
    assert row.claims == tuple(sorted(claims))
    assert row.base_model == "SDXL"


def test_a_move_to_a_root_that_is_scanned_alone_is_not_guessed(bench, content, new_disk):
    other = new_disk(kind="checkpoint", seed=7)
    bench.disk.write("a.safetensors", content("a"))
    bench.disk.write("stays.safetensors", content("s"))
    bench.settle()
    other.inodes, other.files, other.now = bench.disk.inodes, {}, bench.disk.now
    other.files["a.safetensors"] = bench.disk.files.pop("a.safetensors")
    alone = ScanReport((other.scan(),))
    bench.index.apply_scan(alone, bench.disk.now, sample=other.sample)
    assert bench.index.row(other.root.root_id, "a.safetensors").sha256 is None


def test_an_undecodable_root_path_comes_back_as_it_was(bench):
    root = Root("abcdef01", "lora", "/mnt/\udcff/lo\nras", "x/lo\nras")
    bench.index.apply_scan(ScanReport((RootScan(root, (), (), (), "healthy", "healthy"),)))
    [row] = bench.index.roots()
    assert row.path_on_disk == root.path
    assert row.label.isprintable()
