"""What is said before and after a control: who is acted on, who is left alone and why, word for word."""

from __future__ import annotations

from datetime import UTC
from typing import Any

import pytest
from msgspec.structs import replace

from etlmon.core.job import Job, Status
from etlmon.tui.drawing.spans import line_width, plain
from etlmon.tui.jobs.live import LiveJob
from etlmon.tui.steering import control
from etlmon.tui.steering.control import Plan, Told, plan_from, words
from etlmon.tui.steering.lines import left_lines, question_lines

NOW = 1_795_404_462_000
MINUTE = 60_000


def make_live(name: str, status: str = "running", **fields: Any) -> LiveJob:
    began = None if status == "pending" else NOW - 299_000
    ended = NOW - 16 * MINUTE if status in ("completed", "failed", "cancelled") else None
    given = {"started_at": began, "finished_at": ended, "created_at": NOW, "updated_at": NOW} | fields
    return LiveJob(job=Job(id=f"id-{name}", name=name, type="command", status=Status(status), **given))


def rights(owner: str) -> str:
    return f"Only an operator or its owner ({owner}) may cancel it."


def make_plan(action: str = "cancel", *, marked: bool = True, prod: bool = False) -> Plan:
    """The plan that is drawn in the pages: three of five."""
    jobs = [
        make_live("orders_nightly", progress_percent=45.0, metrics={"recordsProcessed": 4_500_000}),
        make_live("crm_sync", progress_percent=83.0, metrics={"recordsProcessed": 184_000}),
        make_live("marketing_spend", "pending"),
        make_live("loyalty_points", "completed"),
        make_live("churn_features", owner="lena"),
    ]
    answer = {
        "ids": [live.id for live in jobs[:3]],
        "skipped": [
            {"id": "id-loyalty_points", "why": "The job is already completed."},
            {"id": "id-churn_features", "why": rights("lena")},
        ],
    }
    plan = plan_from(action, jobs, [answer], now=NOW, zone=UTC)
    return replace(plan, marked=marked, prod=prod)


def test_the_dialog_says_what_is_drawn() -> None:
    drawn = [plain(line) for line in question_lines(make_plan()) + left_lines(make_plan())]
    assert drawn == [
        "3 of 5 marked jobs will be cancelled. This is final.",
        "  ▸ orders_nightly      45%  4.5M rows   runs 4m59s",
        "  ▸ crm_sync            83%  184k rows   runs 4m59s",
        "  ○ marketing_spend     never started",
        "2 are left alone:",
        "  ✓ loyalty_points      ended 03:11",
        "  ▸ churn_features      is lena's; you may read it",
    ]


def test_every_button_is_a_verb_with_a_count() -> None:
    said = words(make_plan())
    assert (said.title, said.safe, said.act, said.hint) == (
        "Cancel jobs",
        "Keep them running",
        "Cancel 3 jobs",
        "esc keeps them",
    )
    said = words(make_plan("pause"))
    assert (said.question, said.safe, said.act) == ("Pause 3 jobs of 5?", "Let them run", "Pause 3 jobs")
    one = plan_from("cancel", [make_live("crm_sync")], [{"ids": ["id-crm_sync"]}], now=NOW)
    said = words(one)
    assert (said.title, said.question) == ("Cancel job", "crm_sync will be cancelled. This is final.")
    assert (said.safe, said.act) == ("Keep it running", "Cancel 1 job")


def test_only_five_are_named_and_the_rest_is_counted() -> None:
    jobs = [make_live(f"load_{n:02d}") for n in range(42)]
    plan = plan_from("cancel", jobs, [{"ids": [live.id for live in jobs]}], now=NOW)
    drawn = [plain(line) for line in question_lines(plan)]
    assert len(drawn) == 7
    assert drawn[-1] == "  and 37 more"


@pytest.mark.parametrize(
    ("n", "prod", "typed"), [(20, False, ""), (21, False, "21"), (42, False, "42"), (1, True, "1")]
)
def test_over_twenty_jobs_or_on_prod_the_number_has_to_be_typed(n: int, prod: bool, typed: str) -> None:
    jobs = [make_live(f"load_{k:02d}") for k in range(n)]
    plan = replace(plan_from("cancel", jobs, [{"ids": [live.id for live in jobs]}], now=NOW), prod=prod)
    assert plan.must_type == typed
    assert words(plan).typed == (f"Type {typed} to cancel {typed} job{'' if n == 1 else 's'}" if typed else "")


@pytest.mark.parametrize("name", ["prod", "production", "eu-prod", "prod_2", "PROD"])
def test_a_profile_named_prod_is_prod(name: str) -> None:
    assert control.is_prod(name)


@pytest.mark.parametrize("name", ["", "products", "staging", "reproduction"])
def test_other_profiles_are_not(name: str) -> None:
    assert not control.is_prod(name)


@pytest.mark.parametrize(
    ("action", "status", "sentence", "why"),
    [
        ("cancel", "completed", "The job is already completed.", "ended 03:11"),
        ("cancel", "running", rights("lena"), "is lena's; you may read it"),
        ("pause", "pending", "The job is pending: only a running job can be paused.", "has not started"),
        ("pause", "paused", "The job is paused: only a running job can be paused.", "is paused already"),
        ("resume", "running", "The job is running: only a paused job can be resumed.", "runs already"),
        (
            "pause",
            "running",
            "Nobody would obey: the job is reported without an agent, so …",
            "has no agent that could",
        ),
        ("cancel", "running", "There is no such job.", "is gone"),
        ("cancel", "running", "Something \x1b[31mnew.", "Something \u241b[31mnew"),
    ],
)
def test_the_servers_reasons_become_short_ones(action: str, status: str, sentence: str, why: str) -> None:
    live = make_live("orders_nightly", status, owner="lena")
    said = control.why_left(live, action, sentence, NOW, UTC)
    assert said.startswith(why)
    assert "\x1b" not in said


def test_a_result_tells_what_was_done_and_who_was_left_alone() -> None:
    plan = make_plan()
    assert control.result(plan, 3, plan.left) == Told("3 jobs cancelled", "2 left alone · n shows who", "ok")
    assert control.who_was_left(plan.left)[1] == ("churn_features was left alone", "it is lena's; you may read it")


def test_what_was_asked_but_not_yet_done_is_not_called_done() -> None:
    plan = replace(make_plan(), left=())
    assert control.result(plan, 1, ()) == Told("3 jobs asked to cancel", "1 did so far", "ok")


def test_none_eligible_says_why() -> None:
    ended = make_live("crm_sync", "completed", finished_at=NOW - 3000)
    plan = plan_from(
        "pause", [ended], [{"skipped": [{"id": ended.id, "why": "The job is already completed."}]}], now=NOW
    )
    assert control.none_eligible(plan) == Told("crm_sync was not paused", "it ended 3s ago", "warn")
    foreign = [make_live(f"load_{n}", owner="lena") for n in range(3)]
    skipped = [{"id": live.id, "why": rights("lena")} for live in foreign]
    told = control.none_eligible(plan_from("cancel", foreign, [{"skipped": skipped}], now=NOW))
    assert f"{told.title} {told.line}" == "You may read here, not cancel: this token is a viewer's."
    both = [*foreign, ended]
    mixed = plan_from(
        "cancel", both, [{"skipped": [*skipped, {"id": ended.id, "why": "The job is already …"}]}], now=NOW
    )
    assert control.none_eligible(mixed) == Told("No job can be cancelled", "3 not yours, 1 ended", "warn")


def test_no_line_of_the_dialog_is_wider_than_its_box() -> None:
    jobs = [
        make_live("数据库" * 20 + str(n), progress_percent=45.0, metrics={"recordsProcessed": 9999}) for n in range(7)
    ]
    skipped = [{"id": live.id, "why": "x" * 300} for live in jobs[3:]]
    plan = plan_from("cancel", jobs, [{"ids": [live.id for live in jobs[:3]], "skipped": skipped}], now=NOW)
    assert max(line_width(line) for line in question_lines(plan) + left_lines(plan)) <= 68


def test_ascii_dialogs_hold_nothing_else_but_names() -> None:
    lines = question_lines(make_plan(), ascii_only=True) + left_lines(make_plan(), ascii_only=True)
    assert all(plain(line).isascii() for line in lines)
