"""The table as a value: what it knows, which order it shows, what it tells once."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etlmon.core.errors import Invalid
from etlmon.core.instants import format_instant
from etlmon.tui.jobs.state import FRESH_MS, ORDER_AFTER_KEY_MS, ORDER_EVERY_MS, WINDOW_MS, JobsState

T0 = 1_763_866_062_000


def view(job_id: str, status: str = "running", *, seq: int = 1, at: int = T0, **more: Any) -> dict[str, Any]:
    ended = format_instant(at) if status in ("failed", "completed", "cancelled") else None
    return {
        "id": job_id, "name": more.pop("name", job_id), "type": "command", "status": status, "seq": seq,
        "createdAt": format_instant(at), "startedAt": format_instant(at), "updatedAt": format_instant(at),
        "finishedAt": ended, "executionTimeMs": 0, "metrics": {}, **more,
    }  # fmt: skip


def update(state: JobsState, job_id: str, status: str, *, seq: int, at: int = T0, **more: Any) -> None:
    data = view(job_id, status, seq=seq, at=at, **more)
    state.apply("job_status_update", {**data, "jobId": data.pop("id")}, seq, at)


def progress(state: JobsState, job_id: str, percent: float, *, seq: int, at: int = T0, **more: Any) -> None:
    data = {"jobId": job_id, "status": "running", "progressPercent": percent, "updatedAt": format_instant(at), **more}
    state.apply("job_progress", data, seq, at)


def snapshot(*views: dict[str, Any], at: int = T0) -> JobsState:
    state = JobsState()
    state.apply("snapshot", {"jobs": list(views)}, None, at)
    state.flush(at)
    return state


def test_failed_come_first_then_paused_running_pending_ended_the_newest_first() -> None:
    state = snapshot(
        view("done", "completed"), view("waits", "pending"), view("old", at=T0 - 9000), view("young", at=T0 - 1000),
        view("stands", "paused"), view("broke", "failed"),
    )  # fmt: skip
    assert state.order == ["broke", "stands", "young", "old", "waits", "done"]


def test_rows_keep_their_places_for_a_while_after_a_move_and_after_a_key() -> None:
    state = snapshot(view("a", at=T0 - 1), view("b", at=T0 - 2))
    update(state, "b", "failed", seq=2)
    assert not state.flush(T0 + ORDER_EVERY_MS - 1).reordered
    assert state.order == ["a", "b"]
    state.touch(T0 + ORDER_EVERY_MS)
    assert not state.flush(T0 + ORDER_EVERY_MS + ORDER_AFTER_KEY_MS - 1).reordered
    assert state.flush(T0 + ORDER_EVERY_MS + ORDER_AFTER_KEY_MS).reordered
    assert state.order == ["b", "a"]


def test_new_rows_that_wait_are_counted_and_a_frozen_table_holds_them() -> None:
    state = snapshot(view("a"))
    state.frozen = True
    update(state, "b", "running", seq=2)
    update(state, "c", "running", seq=3)
    state.flush(T0 + 60_000)
    assert (state.order, state.held_back) == (["a"], 2)
    state.frozen = False
    state.flush(T0 + 60_001)
    assert (sorted(state.order), state.held_back) == (["a", "b", "c"], 0)


def test_a_flush_tells_each_change_once() -> None:
    state = snapshot(view("a"), view("b"))
    progress(state, "a", 10, seq=2)
    progress(state, "a", 11, seq=3)
    assert state.flush(T0).changed == {"a"}
    assert state.flush(T0).changed == set()


def test_an_older_message_changes_nothing() -> None:
    state = snapshot(view("a", seq=5, progressPercent=50))
    progress(state, "a", 10, seq=4)
    assert state.jobs["a"].job.progress_percent == 50
    assert state.flush(T0).changed == set()


def test_a_changed_status_is_fresh_for_two_seconds_and_then_painted_once_more() -> None:
    state = snapshot(view("a"))
    update(state, "a", "paused", seq=2)
    state.flush(T0)
    assert state.is_fresh("a", T0 + FRESH_MS - 1)
    assert state.flush(T0 + FRESH_MS).changed == {"a"}
    assert not state.is_fresh("a", T0 + FRESH_MS)


def test_failures_are_told_once_and_only_those_that_happen_while_we_watch() -> None:
    state = snapshot(view("old", "failed"), view("a"))
    update(state, "a", "failed", seq=2, failure={"kind": "error", "message": "HTTP 401"})
    assert [(failure.id, failure.message) for failure in state.take_failures()] == [("a", "HTTP 401")]
    update(state, "a", "failed", seq=3, failure={"kind": "error", "message": "HTTP 401"})
    assert state.take_failures() == []


def test_a_filter_that_says_nothing_leaves_the_last_one_in_force() -> None:
    state = snapshot(view("a", owner="ana"), view("b", owner="lena"))
    state.filter("owner:ana", T0)
    with pytest.raises(Invalid, match="did you mean"):
        state.filter("ownr:lena", T0)
    assert (state.order, state.filter_text) == (["a"], "owner:ana")


def test_marks_keep_to_jobs_that_the_filter_hides() -> None:
    state = snapshot(view("a", owner="ana"), view("b", owner="lena"))
    state.mark("a")
    state.mark("b")
    state.filter("owner:ana", T0)
    assert (state.hidden_marks, [live.id for live in state.chosen("a")]) == (1, ["a", "b"])
    assert [live.id for live in JobsState().chosen(None)] == []


def test_ended_jobs_leave_after_a_day_and_the_counts_follow() -> None:
    state = snapshot(view("a", "failed"), view("b"))
    assert (state.counts["failed"], state.counts["running"]) == (1, 1)
    state.reorder(T0 + WINDOW_MS + 1)
    assert state.order == ["b"]
    assert (state.counts["failed"], state.total) == (0, 1)


def test_of_very_many_ended_jobs_the_oldest_are_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("etlmon.tui.jobs.state.MOST_JOBS", 3)
    ended = [view(f"e{n}", "completed", at=T0 - n * 1000) for n in range(5)]
    state = snapshot(view("runs"), *ended)
    assert state.order == ["runs", "e0", "e1"]
    assert state.counts["completed"] == 2


def test_a_job_that_the_stream_takes_back_is_gone() -> None:
    state = snapshot(view("a"), view("b"))
    state.apply("job_gone", {"jobId": "a"}, 2, T0)
    state.flush(T0 + ORDER_EVERY_MS)
    assert state.order == ["b"]
    state.forget_active()
    assert state.total == 0


def test_sorting_by_a_number_puts_the_unknown_last_and_reverses() -> None:
    few, many = ({"metrics": {"recordsProcessed": n}} for n in (5, 9))
    state = snapshot(view("none"), view("few", **few), view("many", **many))
    state.sort("ROWS", descending=False, now=T0)
    assert state.order == ["few", "many", "none"]
    state.sort("ROWS", descending=True, now=T0)
    assert state.order == ["many", "few", "none"]


def test_an_end_that_trembles_stays_where_it_was_told_first() -> None:
    def band(low: int, high: int) -> dict[str, Any]:
        return {"estimate": {"low": format_instant(low), "high": format_instant(high), "basis": "pace"}}

    state = snapshot(view("a", **band(T0 + 600_000, T0 + 900_000)))
    progress(state, "a", 10, seq=2, **band(T0 + 630_000, T0 + 930_000))
    assert (state.jobs["a"].low_at, state.jobs["a"].high_at) == (T0 + 600_000, T0 + 900_000)
    progress(state, "a", 11, seq=3, **band(T0 + 630_000, T0 + 1_000_000))
    assert (state.jobs["a"].low_at, state.jobs["a"].high_at) == (T0 + 630_000, T0 + 1_000_000)


steps = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "c", "d"]),
        st.sampled_from(["pending", "running", "paused", "completed", "failed", "cancelled", "progress", "gone"]),
        st.integers(0, 4000),
    ),
    max_size=60,
)


@given(steps)
def test_whatever_comes_counts_places_and_order_agree(moves: list[tuple[str, str, int]]) -> None:
    state, now = JobsState(), T0
    for seq, (job_id, what, later) in enumerate(moves, 1):
        now += later
        if what == "gone":
            state.apply("job_gone", {"jobId": job_id}, seq, now)
        elif what == "progress":
            progress(state, job_id, 1.0, seq=seq, at=now)
        else:
            update(state, job_id, what, seq=seq, at=now)
        state.flush(now)
    state.reorder(now)
    assert sorted(state.order) == sorted(state.jobs)
    assert state.place == {job_id: at for at, job_id in enumerate(state.order)}
    words = [live.word for live in state.jobs.values()]
    assert +state.counts == {word: words.count(word) for word in set(words)}
