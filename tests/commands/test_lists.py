"""Lists and records: what each command prints, in each format."""

from __future__ import annotations

import json

import yaml


def test_a_pipe_gets_tab_separated_rows_without_header_or_colour(cast, etlmon):
    result = etlmon("jobs", "list")
    assert result.code == 0
    assert result.err == ""
    assert [line.split("\t") for line in result.out.splitlines()] == [
        [
            "0190f6a2-7c1e-7000-8000-00000000000a",
            "running",
            "orders_nightly",
            "csv_processing",
            "45%",
            "Processing data",
            "2m59s",
            "2026-01-02T03:02:01.000Z",
            "ana",
            "",
        ],
        [
            "0190f6b1-7c1e-7000-8000-00000000000b",
            "failed",
            "crm_sync",
            "api_upload",
            "45%",
            "Processing data",
            "2m59s",
            "2026-01-02T03:02:01.000Z",
            "",
            "HTTP 401: key revoked",
        ],
        [
            "0190f6b1-7c1e-7000-8000-00000000000c",
            "completed",
            "ledger_close",
            "csv_processing",
            "100%",
            "",
            "2m59s",
            "2026-01-02T03:02:01.000Z",
            "ana",
            "",
        ],
    ]


def test_a_terminal_gets_a_header_glyphs_short_ids_and_local_time(cast, etlmon):
    lines = etlmon("jobs", "list", "--no-color", terminal=True, columns=140).out.splitlines()
    assert " ".join(lines[0].split()) == "ID STATUS NAME TYPE PROGRESS STEP DURATION STARTED OWNER ERROR"
    assert lines[1].startswith("0000000a  ▸ running    orders_nightly  csv_processing       45%")
    assert "2026-01-02 04:02" in lines[1]
    assert lines[2].startswith("0000000b  ✗ failed     crm_sync")
    assert "\x1b" not in "".join(lines)


def test_colour_is_for_terminals_that_want_it(cast, etlmon, monkeypatch):
    assert "\x1b[31m✗ failed" in etlmon("jobs", "list", terminal=True).out
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in etlmon("jobs", "list", terminal=True).out


def test_no_line_of_a_table_is_wider_than_the_terminal(cast, etlmon):
    for columns in (200, 100, 80, 60, 40, 20, 5):
        out = etlmon("jobs", "list", "--no-color", terminal=True, columns=columns).out
        assert max(len(line) for line in out.splitlines()) <= columns
    assert "orders_nightly" in etlmon("jobs", "list", terminal=True, columns=80).out


def test_utc_may_be_asked_for_before_or_after_the_command(cast, etlmon):
    for words in (("--utc", "jobs", "list"), ("jobs", "list", "--utc")):
        assert "2026-01-02 03:02Z" in etlmon(*words, "--no-color", terminal=True, columns=160).out


def test_json_is_the_whole_list(cast, etlmon):
    result = etlmon("jobs", "list", "-o", "json")
    assert json.loads(result.out) == cast.jobs


def test_jsonl_is_one_object_per_line(cast, etlmon):
    lines = etlmon("jobs", "list", "-o", "jsonl").out.splitlines()
    assert [json.loads(line) for line in lines] == cast.jobs


def test_yaml_says_what_json_says(cast, etlmon):
    assert yaml.safe_load(etlmon("jobs", "list", "-o", "yaml").out) == cast.jobs


def test_name_prints_ids(cast, etlmon):
    assert etlmon("jobs", "list", "-o", "name").out.splitlines() == [job["id"] for job in cast.jobs]


def test_json_with_fields_prints_those_fields(cast, etlmon):
    result = etlmon("jobs", "list", "--json", "name,metrics.recordsFailed,tags.env")
    assert json.loads(result.out)[0] == {"name": "orders_nightly", "metrics.recordsFailed": 15, "tags.env": "prod"}
    assert etlmon("jobs", "list", "-o", "jsonl", "--json", "name").out.splitlines()[1] == '{"name":"crm_sync"}'


def test_a_field_that_does_not_exist_is_a_usage_error_with_the_nearest(cast, etlmon):
    result = etlmon("jobs", "list", "--json", "nmae")
    assert result.code == 2
    assert "did you mean 'name'" in result.err
    assert "progressPercent" in result.err


def test_fields_do_not_go_with_a_table(cast, etlmon):
    assert etlmon("jobs", "list", "-o", "table", "--json", "name").code == 2


def test_no_match_is_an_empty_list_and_no_failure(cast, etlmon):
    cast.jobs = []
    expected = {"table": "", "wide": "", "json": "[]\n", "jsonl": "", "yaml": "[]\n", "name": ""}
    for form, out in expected.items():
        result = etlmon("jobs", "list", "-o", form)
        assert (result.code, result.out, result.err) == (0, out, "")
    assert etlmon("jobs", "list", terminal=True).err == "No jobs match.\n"


def test_filters_become_parameters(cast, etlmon):
    words = (
        "jobs list -s failed,running --status !lost --type t --name n --owner o --tag env=prod --tag !team=x "
        "--host h --source sdk --since 24h --until 1h -q duration>10m --sort -duration"
    )
    assert etlmon(*words.split()).code == 0
    query = cast.asked[-1].query
    assert query == {
        "status": ["failed", "running", "!lost"],
        "type": ["t"],
        "name": ["n"],
        "owner": ["o"],
        "tag": ["env:prod", "!team:x"],
        "host": ["h"],
        "source": ["sdk"],
        "since": ["24h"],
        "until": ["1h"],
        "q": ["duration>10m"],
        "sort": ["-duration"],
        "limit": ["51"],
    }


def test_a_tag_without_value_is_a_usage_error(cast, etlmon):
    result = etlmon("jobs", "list", "--tag", "prod")
    assert (result.code, result.err) == (2, "etlmon: --tag takes KEY=VALUE, not 'prod'.\n")


def test_a_limit_is_kept_over_several_pages_and_told_of(cast, etlmon):
    cast.jobs = [dict(cast.jobs[0], id=f"job-{n}") for n in range(2500)]
    assert len(etlmon("jobs", "list", "-L", "2100", "-o", "name").out.splitlines()) == 2100
    assert len(etlmon("jobs", "list", "--all", "-o", "name").out.splitlines()) == 2500
    assert etlmon("jobs", "list", terminal=True).err == "The first 50 are shown; --limit N or --all for more.\n"


def test_show_prints_labelled_lines(cast, etlmon):
    rows = dict(
        line.split("\t") for line in etlmon("jobs", "show", "0190f6b1-7c1e-7000-8000-00000000000b").out.splitlines()
    )
    assert rows["status"] == "failed"
    assert rows["failure"] == "error: HTTP 401: key revoked"
    assert rows["try this"] == "1 Check that db-7 is up"
    assert rows["memoryUsage"] == "73.4 MB"
    assert "retry of" not in rows
    on_terminal = etlmon("jobs", "show", "0190f6a2-7c1e-7000-8000-00000000000a", terminal=True).out
    assert "step               Processing data (2 of 2)\n" in on_terminal


def test_show_json_is_the_job(cast, etlmon):
    result = etlmon("jobs", "show", "0190f6a2-7c1e-7000-8000-00000000000a", "-o", "json")
    assert json.loads(result.out) == cast.jobs[0]


def test_an_id_may_be_any_unambiguous_beginning_or_end(cast, etlmon):
    for part in ("0190f6a2", "00000000000a", "0a"):
        assert etlmon("jobs", "show", part, "-o", "name").out.strip() == cast.jobs[0]["id"]


def test_an_exact_id_wins_over_longer_ones(cast, etlmon):
    cast.jobs = [make | {"id": job_id} for make, job_id in zip(cast.jobs, ("load", "load-2", "x-load"), strict=True)]
    assert etlmon("jobs", "show", "load", "-o", "name").out == "load\n"


def test_an_ambiguous_id_lists_its_candidates(cast, etlmon):
    result = etlmon("jobs", "show", "0190f6b1")
    assert result.code == 2
    assert result.err.splitlines() == [
        "etlmon: '0190f6b1' fits 2 jobs; give more of the id:",
        "  0190f6b1-7c1e-7000-8000-00000000000b: crm_sync",
        "  0190f6b1-7c1e-7000-8000-00000000000c: ledger_close",
    ]


def test_an_unknown_id_is_not_found(cast, etlmon):
    for part in ("ffff", "0190f6b1-7c1e-7000-8000-0000000000ff", "*", "a b", "ä", "x" * 5000):
        assert etlmon("jobs", "show", part).code == 5


def test_events_tell_who_and_why(cast, etlmon):
    rows = [line.split("\t") for line in etlmon("jobs", "events", "0a").out.splitlines()]
    assert rows[1] == ["9", "2026-01-02T03:04:00.000Z", "control_requested", "bo", "action=pause reason=disk on etl-2"]


def test_metrics_carry_their_units(cast, etlmon):
    rows = dict(line.split("\t") for line in etlmon("jobs", "metrics", "0a").out.splitlines())
    assert rows["processingRate"] == "150.5/s"
    assert rows["cpuUsage"] == "81.5%"


def test_history_lists_finished_jobs_and_exports_them_as_ndjson(cast, etlmon):
    assert etlmon("history", "list", "-o", "name").out.splitlines() == [job["id"] for job in cast.jobs[1:]]
    assert [json.loads(line) for line in etlmon("history", "export").out.splitlines()] == cast.jobs[1:]


def test_history_stats_are_labelled_figures(cast, etlmon):
    cast.summary = {"total": 12, "successRate": 0.75, "durations": {"p50Ms": 61000}, "trend": [{"at": "x", "n": 1}]}
    assert etlmon("history", "stats").out.splitlines() == [
        "total\t12",
        "successRate\t75.0%",
        "durations.p50Ms\t1m1s",
    ]


def test_audit_connections_and_tokens_are_lists(cast, etlmon):
    cast.audit = [
        {
            "id": "1",
            "at": "2026-01-02T03:04:00.000Z",
            "actor": "ana",
            "action": "cancel",
            "subject": "j",
            "detail": {"n": 1},
        }
    ]
    cast.connections = [
        {
            "id": "c1",
            "name": "tui",
            "role": "viewer",
            "state": "live",
            "lag": 0,
            "dropped": 0,
            "filters": {"topics": ["jobs"]},
        }
    ]
    cast.tokens = [
        {"id": "tok-1", "name": "local", "role": "admin", "owner": None, "createdAt": "2026-01-02T03:04:00.000Z"}
    ]
    assert etlmon("audit").out == "2026-01-02T03:04:00.000Z\tana\tcancel\tj\tn=1\n"
    assert etlmon("connections").out.startswith("c1\ttui\tviewer\tlive\t0\t0\t")
    assert etlmon("tokens", "list").out.startswith("tok-1\tlocal\tadmin\t\t2026-01-02T03:04:00.000Z")


def test_a_new_token_is_printed_alone(cast, etlmon):
    result = etlmon("tokens", "create", "--role", "reporter", "--name", "etl-3", "--owner", "ana")
    assert (result.code, result.out, result.err) == (0, "etl_secret\n", "")
    assert cast.asked[-1].body == {"role": "reporter", "name": "etl-3", "owner": "ana"}


def test_a_token_is_revoked_by_a_part_of_its_id(cast, etlmon):
    cast.tokens = [{"id": "tok-1"}, {"id": "tok-2"}]
    assert etlmon("tokens", "revoke", "2").out == "tok-2\n"
    assert (cast.asked[-1].method, cast.asked[-1].path) == ("DELETE", "/api/tokens/tok-2")
    assert etlmon("tokens", "revoke", "tok").code == 2
    assert etlmon("tokens", "revoke", "zz").code == 5


def test_health_says_how_the_server_does(cast, etlmon):
    result = etlmon("health")
    assert result.code == 0
    assert "status\tok\n" in result.out
    cast.health = {"status": "degraded", "version": "0.1.0", "uptimeMs": 5, "checks": {"store": "disk full"}}
    result = etlmon("health")
    assert result.code == 1
    assert "checks.store\tdisk full\n" in result.out
