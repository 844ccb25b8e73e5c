"""The spool's files: what is whole is loaded, whatever was torn; bounds hold; batches keep their cut across deaths."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etlmon.host.clock import now_ms
from etlmon.sdk import mark as marks
from etlmon.sdk.frames import HEAD, LOG, SAMPLE, STATE, pack_frame, read_frames
from etlmon.sdk.mark import Header, Mark, MarkTooNew, MarkUnreadable, new_producer
from etlmon.sdk.memory_spool import MemorySpool
from etlmon.sdk.segments import START, Segment
from etlmon.sdk.spool import FileSpool
from etlmon.sdk.tail import Batch, Limits

HEADER = Header(key="url:http://x", url="http://x", fingerprint="f")
payloads = st.lists(st.tuples(st.sampled_from((LOG, SAMPLE, STATE)), st.text(max_size=40)), max_size=8)


def line(n: int, at: str = "2013-01-01T00:00:00.000Z") -> bytes:
    return f'{{"kind":"log","jobId":"j","at":"{at}","message":"line {n}"}}'.encode()


def make(directory: Path, **limits: Any) -> FileSpool:
    directory.mkdir(mode=0o700, exist_ok=True)
    return FileSpool.create(directory, HEADER, new_producer(), Limits(max_age_ms=10**13, **limits))


def adopt(directory: Path, **limits: Any) -> FileSpool | None:
    (path,) = directory.glob("*.mark")
    return FileSpool.adopt(path, Limits(max_age_ms=10**13, **limits))


def drain(spool: FileSpool | MemorySpool, max_reports: int = 500) -> list[Batch]:
    taken = []
    while (batch := spool.next_batch(max_reports, 1 << 20)) is not None:
        taken.append(batch)
        spool.taken()
    return taken


def texts(batches: list[Batch]) -> list[bytes]:
    return [payload for batch in batches for payload in batch.payloads]


# -- frames ---------------------------------------------------------------------------------------------------------


@given(payloads)
def test_frames_come_back_as_they_went_in(items: list[tuple[int, str]]) -> None:
    data = b"".join(pack_frame(kind, text.encode()) for kind, text in items)
    assert [(kind, payload.decode()) for kind, payload, _, _ in read_frames(data)] == items


@given(payloads, st.data())
def test_a_file_cut_at_any_byte_gives_every_whole_record_before_the_cut(
    items: list[tuple[int, str]], data: st.DataObject
) -> None:
    frames = [pack_frame(kind, text.encode()) for kind, text in items]
    whole = b"".join(frames)
    cut = data.draw(st.integers(0, len(whole)))
    ends = [sum(map(len, frames[: n + 1])) for n in range(len(frames))]
    expected = [text for (_, text), end in zip(items, ends, strict=True) if end <= cut]
    assert [payload.decode() for _, payload, _, _ in read_frames(whole[:cut])] == expected


@given(payloads.filter(bool), st.data())
def test_a_damaged_byte_costs_its_own_record_alone(items: list[tuple[int, str]], data: st.DataObject) -> None:
    texts = [f'"{number} {text.encode().hex()}"' for number, (_, text) in enumerate(items)]
    frames = [pack_frame(LOG, text.encode()) for text in texts]
    whole = bytearray(b"".join(frames))
    place = data.draw(st.integers(0, len(whole) - 1))
    whole[place] ^= data.draw(st.integers(1, 255))
    ends = [sum(map(len, frames[: n + 1])) for n in range(len(frames))]
    hit = next(n for n, end in enumerate(ends) if place < end)
    found = [payload.decode() for _, payload, _, _ in read_frames(bytes(whole))]
    kept = [text for n, text in enumerate(texts) if n != hit]
    # The third byte of a frame's head is padding: damage there harms nothing.
    assert found in (kept, texts)
    if found == texts:
        assert (place - (ends[hit] - len(frames[hit]))) == 3


# -- a spool's life -------------------------------------------------------------------------------------------------


def test_what_was_appended_comes_out_once_in_order_over_many_segments(tmp_path: Path) -> None:
    spool = make(tmp_path / "s", segment_bytes=1000)
    for n in range(500):
        assert spool.append(LOG, line(n))
    assert len(list((tmp_path / "s").glob("*.seg"))) > 20
    batches = drain(spool, 7)
    assert texts(batches) == [line(n) for n in range(500)]
    assert [batch.seq for batch in batches] == list(range(1, len(batches) + 1))
    assert spool.appended == spool.settled == 500
    assert len(list((tmp_path / "s").glob("*.seg"))) == 1
    spool.close()
    assert list((tmp_path / "s").iterdir()) == []


def test_files_are_private(tmp_path: Path) -> None:
    spool = make(tmp_path / "s")
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "s").iterdir()} == {0o600}
    spool.abandon()


def test_an_heir_sends_the_open_batch_again_with_the_same_bounds(tmp_path: Path) -> None:
    spool = make(tmp_path / "s")
    for n in range(30):
        spool.append(LOG, line(n))
    spool.next_batch(7, 1 << 20)
    spool.taken()
    sent = spool.next_batch(9, 1 << 20)
    spool.append(LOG, line(30))
    spool.abandon()
    heir = adopt(tmp_path / "s")
    assert heir is not None
    assert heir.next_batch(500, 1 << 20) == sent
    assert texts(drain(heir)) == [line(n) for n in range(7, 31)]
    heir.close()
    assert list((tmp_path / "s").iterdir()) == []


def test_a_spool_whose_owner_lives_is_not_adopted(tmp_path: Path) -> None:
    spool = make(tmp_path / "s")
    spool.append(LOG, line(0))
    assert adopt(tmp_path / "s") is None
    spool.abandon()
    assert adopt(tmp_path / "s") is not None


def test_of_two_heirs_one_gets_it(tmp_path: Path) -> None:
    make(tmp_path / "s").abandon()
    first = adopt(tmp_path / "s")
    assert first is not None
    assert adopt(tmp_path / "s") is None
    first.close()


@pytest.mark.parametrize("part", ["seg", "mark"])
def test_a_file_of_a_spool_cut_at_any_byte_never_harms_and_gives_what_is_whole(tmp_path: Path, part: str) -> None:
    spool = make(tmp_path / "whole")
    lines = [line(n) for n in range(4)]
    for payload in lines:
        spool.append(LOG, payload)
    spool.abandon()
    (victim,) = (tmp_path / "whole").glob(f"*.{part}")
    ends = [START + sum(HEAD.size + len(each) for each in lines[: n + 1]) for n in range(4)]
    sizes = range(victim.stat().st_size) if part == "seg" else [*range(0, 4096, 61), 4095]
    for size in sizes:
        directory = tmp_path / str(size)
        shutil.copytree(tmp_path / "whole", directory)
        os.truncate(directory / victim.name, size)
        try:
            heir = adopt(directory)
        except MarkUnreadable:
            assert part == "mark"
            continue
        assert heir is not None
        found = texts(drain(heir))
        assert found == (
            [each for each, end in zip(lines, ends, strict=True) if end <= size] if part == "seg" else lines
        )
        heir.close()
        shutil.rmtree(directory)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_interleaving_of_appends_batches_and_deaths_delivers_each_once(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """A model server keeps the rules; whatever dies, each record that reached the spool is stored once, in order."""
    directory = tmp_path_factory.mktemp("life") / "s"
    limits: dict[str, Any] = {"segment_bytes": data.draw(st.sampled_from((200, 1000, 10_000)))}
    spool: FileSpool | None = make(directory, **limits)
    stored: list[bytes] = []
    ack: dict[str, int] = {}
    n = 0
    for action in data.draw(st.lists(st.sampled_from("aaaasstdr"), max_size=60)):
        assert spool is not None
        if action == "a":
            spool.append(LOG, line(n))
            n += 1
            continue
        if action == "d":  # the owner dies; an heir (or the same program, started again) takes over
            spool.abandon()
            spool = adopt(directory, **limits)
            continue
        batch = spool.next_batch(data.draw(st.integers(1, 5)), 1 << 20)
        if batch is None:
            continue
        if action == "r" and len(batch.payloads) > 1 and batch.seq > ack.get(batch.producer, 0):
            spool.recut(len(batch.payloads) // 2)
            continue
        assert batch.missing == 0
        assert batch.seq <= ack.get(batch.producer, 0) + 1
        if batch.seq == ack.get(batch.producer, 0) + 1:
            stored.extend(batch.payloads)
            ack[batch.producer] = batch.seq
        if action == "t":  # the answer arrives
            spool.taken()
    assert spool is not None
    while (batch := spool.next_batch(500, 1 << 20)) is not None:
        assert batch.missing == 0
        if batch.seq == ack.get(batch.producer, 0) + 1:
            stored.extend(batch.payloads)
            ack[batch.producer] = batch.seq
        spool.taken()
    spool.close()
    assert stored == [line(number) for number in range(n)]
    assert list(directory.iterdir()) == []


def test_a_death_between_removing_a_segment_and_the_next_cut_leaves_no_mark_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = make(tmp_path / "s", segment_bytes=100)
    for n in range(3):
        spool.append(LOG, line(n))
    first = spool.next_batch(500, 1 << 20)
    spool.taken()

    class Killed(BaseException):
        pass

    def die(region: object) -> None:
        raise Killed

    monkeypatch.setattr(spool, "_set_down", die)
    with pytest.raises(Killed):
        spool.next_batch(500, 1 << 20)
    spool.abandon()
    heir = adopt(tmp_path / "s")
    assert heir is not None
    batches = drain(heir)
    assert [batch.missing for batch in batches] == [0, 0]
    assert first is not None
    assert texts([first, *batches]) == [line(n) for n in range(3)]
    assert batches[0].seq == first.seq + 1
    heir.close()


# -- going on as a new producer -------------------------------------------------------------------------------------


@pytest.mark.parametrize("in_memory", [False, True])
def test_a_new_producer_begins_at_one_with_the_open_batch(tmp_path: Path, in_memory: bool) -> None:
    spool: Any = MemorySpool(new_producer(), Limits()) if in_memory else make(tmp_path / "s")
    for n in range(10):
        spool.append(LOG, line(n))
    for _ in range(3):
        spool.next_batch(2, 1 << 20)
        spool.taken()
    before = spool.next_batch(2, 1 << 20)
    assert spool.lost_after(3) == 0
    assert spool.lost_after(1) == 4
    assert spool.lost_after(0) == 6
    spool.renew()
    after = spool.next_batch(2, 1 << 20)
    assert (after.seq, after.payloads) == (1, before.payloads)
    assert after.producer == spool.producer != before.producer
    spool.recut(1)
    assert spool.next_batch(9, 1 << 20).payloads == (line(6),)
    spool.skip()
    assert spool.next_batch(9, 1 << 20).seq == 1
    assert texts(drain(spool)) == [line(7), line(8), line(9)]


def test_a_batch_that_can_no_longer_be_read_whole_says_so_to_its_heir(tmp_path: Path) -> None:
    spool = make(tmp_path / "s")
    for n in range(10):
        spool.append(LOG, line(n))
    spool.next_batch(5, 1 << 20)
    spool.abandon()
    (segment,) = (tmp_path / "s").glob("*.seg")
    with segment.open("r+b") as file:
        file.seek(START + 20)
        file.write(b"XXXX")
    heir = adopt(tmp_path / "s")
    assert heir is not None
    batch = heir.next_batch(500, 1 << 20)
    assert batch is not None
    assert (batch.seq, batch.missing, batch.payloads) == (1, 1, tuple(line(n) for n in range(1, 5)))
    heir.renew()
    assert texts(drain(heir)) == [line(n) for n in range(1, 10)]
    heir.close()


def test_the_number_of_a_batch_that_was_only_in_memory_is_never_used_for_another(tmp_path: Path) -> None:
    spool = make(tmp_path / "s")
    spool._write = lambda frame: False  # type: ignore[method-assign]
    spool.append(STATE, line(0))
    sent = spool.next_batch(5, 1 << 20)
    assert sent is not None
    spool.abandon()
    heir = adopt(tmp_path / "s")
    assert heir is not None
    assert heir.producer != sent.producer
    heir.close()


# -- bounds and full disks ------------------------------------------------------------------------------------------


def test_log_lines_are_refused_first_then_samples_and_states_never(tmp_path: Path) -> None:
    spool = make(tmp_path / "s", max_bytes=20_000, reserve_bytes=8_000, memory_bytes=10_000, segment_bytes=4_000)
    n_lines = sum(spool.append(LOG, line(n)) for n in range(500))
    assert n_lines < 300
    n_samples = sum(spool.append(SAMPLE, b"s" * 100) for _ in range(500))
    assert 0 < n_samples < 100
    states = [b'{"state":%d}' % n for n in range(400)]
    assert all(spool.append(STATE, state) for state in states)
    assert sum(path.stat().st_size for path in (tmp_path / "s").glob("*.seg")) <= 20_500
    delivered = texts(drain(spool))
    assert [each for each in delivered if each.startswith(b'{"state"')] == states
    assert spool.append(LOG, line(0)), "with room again, lines are taken again"


def test_other_spools_of_the_directory_count_against_the_bound(tmp_path: Path) -> None:
    first = make(tmp_path / "s", max_bytes=20_000, reserve_bytes=1_000)
    while first.append(LOG, line(0)):
        pass
    first.abandon()
    second = make(tmp_path / "s", max_bytes=20_000, reserve_bytes=1_000)
    assert not second.append(LOG, line(0))
    assert second.append(STATE, b"{}")
    second.abandon()


def test_lines_older_than_the_bound_are_counted_instead_of_delivered(tmp_path: Path) -> None:
    directory = tmp_path / "s"
    directory.mkdir(mode=0o700)
    limits = Limits(max_age_ms=86_400_000)
    spool = FileSpool.create(directory, HEADER, new_producer(), limits)
    assert spool._writer is not None
    path = spool._writer.path
    for n in range(3):
        spool.append(LOG, line(n))
    spool.append(STATE, b'{"kind":"completed"}')
    spool.append(LOG, line(3, "2999-01-01T00:00:00.000Z"))
    spool.abandon()
    with path.open("r+b") as file:
        file.seek(8)
        file.write((now_ms() - 2 * 86_400_000).to_bytes(8, "little"))
    heir = FileSpool.adopt(next(directory.glob("*.mark")), limits)
    assert heir is not None
    batch = heir.next_batch(500, 1 << 20)
    assert batch is not None
    assert batch.payloads == (b'{"kind":"completed"}', line(3, "2999-01-01T00:00:00.000Z"))
    assert heir.losses.total == 3
    heir.abandon()
    again = FileSpool.adopt(next(directory.glob("*.mark")), limits)
    assert again is not None
    assert again.next_batch(500, 1 << 20) == batch, "the same cut, whatever the clock says by now"
    again.close()


def test_a_disk_that_is_full_keeps_states_in_memory_and_writes_them_when_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = make(tmp_path / "s")
    spool.append(LOG, line(0))
    full = True
    append = Segment.append

    def refuse(self: Segment, frame: bytes) -> None:
        if full:
            raise OSError(errno.ENOSPC, "No space left on device")
        append(self, frame)

    monkeypatch.setattr(Segment, "append", refuse)
    assert not spool.append(LOG, line(1))
    assert spool.append(STATE, b'"one"')
    assert texts(drain(spool)) == [line(0), b'"one"'], "what only memory holds is delivered as well"
    assert spool.append(STATE, b'"two"')
    full = False
    spool._retry_at = 0.0
    assert spool.append(STATE, b'"three"')
    spool.abandon()
    heir = adopt(tmp_path / "s")
    assert heir is not None
    assert texts(drain(heir)) == [b'"two"', b'"three"'], "and is on disk as soon as it can be, in order"
    heir.close()


FILL = textwrap.dedent(
    """
    import resource, sys
    from pathlib import Path
    from etlmon.sdk.frames import LOG, STATE
    from etlmon.sdk.mark import Header, new_producer
    from etlmon.sdk.spool import FileSpool
    from etlmon.sdk.tail import Limits

    spool = FileSpool.create(Path(sys.argv[1]), Header(key="k", url="u", fingerprint="f"), new_producer(), Limits())
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
    taken = 0
    while spool.append(LOG, b'"%06d"' % taken):
        taken += 1
    assert spool.append(STATE, b'"state"')
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    spool._retry_at = 0.0
    assert spool.append(STATE, b'"after"')
    spool.abandon()
    print(taken)
    """
)


def test_a_record_that_the_kernel_took_half_of_is_not_there(tmp_path: Path) -> None:
    directory = tmp_path / "s"
    directory.mkdir(mode=0o700)
    done = subprocess.run(
        [sys.executable, "-c", FILL, directory], capture_output=True, text=True, check=True, timeout=60
    )
    heir = adopt(directory)
    assert heir is not None
    taken = int(done.stdout)
    assert taken > 500
    assert texts(drain(heir)) == [b'"%06d"' % n for n in range(taken)] + [b'"state"', b'"after"']
    heir.close()


# -- marks ----------------------------------------------------------------------------------------------------------


def test_a_mark_survives_the_tearing_of_its_newest_slot(tmp_path: Path) -> None:
    spool = make(tmp_path / "s")
    for n in range(10):
        spool.append(LOG, line(n))
        spool.next_batch(1, 1 << 20)
        spool.taken()
    spool.abandon()
    (path,) = (tmp_path / "s").glob("*.mark")
    intact = path.read_bytes()
    for at in marks._SLOT_AT:
        torn = bytearray(intact)
        torn[at + 3] ^= 0xFF
        path.write_bytes(torn)
        heir = Mark.adopt(path)
        assert heir is not None
        assert heir.cut.seq in (9, 10)
        heir.close()


def test_a_mark_of_a_later_version_is_left_alone(tmp_path: Path) -> None:
    make(tmp_path / "s").abandon()
    (path,) = (tmp_path / "s").glob("*.mark")
    content = bytearray(path.read_bytes())
    content[8] = 99
    path.write_bytes(content)
    with pytest.raises(MarkTooNew, match="version is 99"):
        Mark.adopt(path)
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    "content", [b"", b"SQLite format 3\0" + bytes(4080), os.urandom(4096)], ids=["empty", "a database", "noise"]
)
def test_a_file_that_is_no_mark_is_not_taken_for_one(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.mark"
    path.write_bytes(content)
    with pytest.raises(MarkUnreadable):
        Mark.adopt(path)


def test_a_mark_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    make(tmp_path / "s").abandon()
    (path,) = (tmp_path / "s").glob("*.mark")
    (tmp_path / "link.mark").symlink_to(path)
    with pytest.raises(OSError, match="symbolic"):
        Mark.adopt(tmp_path / "link.mark")
