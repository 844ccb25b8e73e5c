"""Query parameters: what is let through, and what the refusals say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etlmon.core.access import Identity, Role
from etlmon.core.errors import EtlmonError, Invalid, Malformed
from etlmon.server.api.filtering import JobParams, job_query
from etlmon.server.api.logs import AllLogParams, LogParams, log_query
from etlmon.server.api.params import declared, parse_params, refuse_credentials

NOW = 1_763_865_407_000
READER = Identity(token_id="t", name="ana", role=Role.VIEWER)


def fault(pairs: list[tuple[str, str]], cls: type = JobParams) -> Invalid:
    with pytest.raises(Invalid) as caught:
        parse_params(pairs, cls)
    return caught.value


def test_an_unknown_parameter_is_refused_with_the_nearest_name() -> None:
    refusal = fault([("statuss", "failed")])
    assert "did you mean status?" in refusal.detail
    assert refusal.errors[0].path == "statuss"


def test_every_fault_is_told_at_once() -> None:
    refusal = fault([("statuss", "failed"), ("limit", "many"), ("q", "a"), ("q", "b")])
    assert [f.path for f in refusal.errors] == ["statuss", "limit", "q"]


@pytest.mark.parametrize(
    "text", ["-1", "0", "1001", "1000000000", "١٢", "1_000", " 7 ", "+5", "", "0x10", "1e3", "9" * 30]
)
def test_a_limit_that_is_not_a_plain_number_in_range_is_refused(text: str) -> None:
    assert fault([("limit", text)]).errors[0].path == "limit"


def test_a_parameter_that_may_be_given_once_is_refused_when_given_twice() -> None:
    assert "once" in fault([("cursor", "a"), ("cursor", "a")]).detail


def test_a_repeatable_parameter_keeps_all_its_values_in_order() -> None:
    params = parse_params([("status", "failed"), ("status", "!running")], JobParams)
    assert params.status == ("failed", "!running")


def test_a_wrong_choice_is_refused_with_its_path() -> None:
    assert fault([("order", "sideways")], LogParams).errors[0].path == "order"


@pytest.mark.parametrize(("text", "value"), [("true", True), ("1", True), ("", True), ("FALSE", False), ("0", False)])
def test_a_flag_is_read_in_the_usual_spellings(text: str, value: bool) -> None:
    assert parse_params([("stream", text)], LogParams).stream is value


def test_the_search_over_all_logs_takes_the_job_filters_too() -> None:
    assert {"level", "q", "contains", "regex", "jobs", "tag", "follow"} <= set(declared(AllLogParams))


@pytest.mark.parametrize("name", ["token", "access_token", "Authorization"])
def test_a_token_in_the_url_is_refused(name: str) -> None:
    with pytest.raises(Malformed):
        refuse_credentials([name])


@given(st.lists(st.tuples(st.sampled_from([*declared(JobParams), "x", ""]), st.text(max_size=30)), max_size=6))
def test_any_query_string_gives_a_question_or_a_refusal(pairs: list[tuple[str, str]]) -> None:
    status = 200
    try:
        params = parse_params(pairs, JobParams)
        job_query(params, READER, NOW)
    except EtlmonError as refusal:
        status = refusal.status
    assert status in (200, 400, 422)


@given(st.lists(st.tuples(st.sampled_from([*declared(LogParams), "x"]), st.text(max_size=30)), max_size=6))
def test_any_log_query_gives_a_question_or_a_refusal(pairs: list[tuple[str, str]]) -> None:
    status = 200
    try:
        params = parse_params(pairs, LogParams)
        log_query(params, None, NOW).resumed(params.cursor or "0")
    except EtlmonError as refusal:
        status = refusal.status
    assert status in (200, 400, 422)


def test_a_reporter_is_asked_only_for_what_it_reported() -> None:
    reporter = Identity(token_id="r1", name="cron", role=Role.REPORTER)
    assert job_query(JobParams(), reporter, NOW).reporter == "r1"
    assert job_query(JobParams(), READER, NOW).reporter is None


@pytest.mark.parametrize("tag", ["env", ":prod", ""])
def test_a_tag_that_is_not_key_and_value_is_refused(tag: str) -> None:
    with pytest.raises(Invalid) as caught:
        job_query(JobParams(tag=(tag,)), READER, NOW)
    assert caught.value.errors[0].path == "tag"


def test_an_unknown_sort_key_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(Invalid, match="createdAt"):
        job_query(JobParams(sort="-createdat"), READER, NOW)
