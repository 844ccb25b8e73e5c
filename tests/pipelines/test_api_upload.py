"""api_upload against a real endpoint: every record arrives once, whatever the endpoint and the process go through."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

import pytest

from world import wait_until

ROWS = [{"id": str(n), "name": f"order {n}"} for n in range(95)]
CSV = "id,name\n" + "".join(f"{row['id']},{row['name']}\n" for row in ROWS)


def job(api: Any, **more: Any) -> dict[str, Any]:
    quick = {"base": "1ms", "cap": "5ms"}
    return {"source": {"path": "in.csv"}, "url": api.url, "batch_records": 10, "retry": quick} | more


def sorted_rows(records: list[Any]) -> list[Any]:
    return sorted(records, key=lambda record: int(record["id"]))


@pytest.mark.parametrize("body", ["array", {"key": "records"}, "jsonl"])
def test_every_record_arrives_once_in_each_form(room: Any, api: Any, body: Any) -> None:
    room.write("in.csv", CSV)
    result = room.run("api_upload", job(api, body=body))
    assert result["status"] == "completed"
    assert (result["summary"]["recordsIn"], result["summary"]["recordsOut"]) == (95, 95)
    assert sorted_rows(api.taken()) == ROWS
    assert len(api.tries) == len(set(api.tries)) == 10


def test_an_endpoint_that_is_busy_hangs_up_or_answers_garbage_is_tried_again_with_the_same_key(
    room: Any, api: Any
) -> None:
    def moody(api: Any, key: str, records: list[Any]) -> tuple[int, dict[str, str], Any]:
        moods = [(429, {"Retry-After": "0"}, {}), (503, {}, {}), (0, {}, None), (0, {}, b"garbage\r\n\r\n")]
        tried = api.tries.count(key)
        return moods[tried - 1] if tried <= len(moods) else (201, {}, {})

    api.answer = moody
    room.write("in.csv", CSV)
    result = room.run("api_upload", job(api))
    assert result["status"] == "completed"
    assert sorted_rows(api.taken()) == ROWS
    assert len(set(api.tries)) == 10
    assert all(api.tries.count(key) == 5 for key in set(api.tries))


def test_the_records_that_the_endpoint_refuses_are_rejects_with_their_lines(room: Any, api: Any) -> None:
    def picky(api: Any, key: str, records: list[Any]) -> tuple[int, dict[str, str], Any]:
        errors = [{"index": n, "message": "no"} for n, each in enumerate(records) if int(each["id"]) % 7 == 0]
        return (422 if len(errors) > 1 else 200), {}, {"errors": errors}

    api.answer = picky
    room.write("in.csv", CSV + "ragged\n")
    result = room.run("api_upload", job(api, rejects={"path": "no.jsonl"}))
    assert result["status"] == "completed"
    rejects = room.rejects("no.jsonl")
    assert [reject["line"] for reject in rejects] == [n + 2 for n in range(95) if n % 7 == 0] + [97]
    assert rejects[0] == {
        "source": "in.csv", "line": 2, "column": None, "reason": "no", "record": {"id": "0", "name": "order 0"},
    }  # fmt: skip
    summary = result["summary"]
    assert summary["recordsIn"] == 96 == summary["recordsOut"] + summary["recordsRejected"]


@pytest.mark.parametrize(("status", "hint"), [(401, "credentials"), (404, "url"), (413, "smaller"), (302, "redirects")])
def test_a_refusal_fails_the_job_and_says_what_to_do(room: Any, api: Any, status: int, hint: str) -> None:
    api.answer = lambda *_: (status, {"Location": "http://127.0.0.1:1/"}, {"detail": "no entry"})
    room.write("in.csv", CSV)
    result = room.run("api_upload", job(api, concurrency=1))
    assert result["status"] == "failed"
    assert result["failure"]["step"] == "Uploading to API"
    assert f"{status}" in result["failure"]["message"]
    assert "no entry" in result["failure"]["message"]
    assert hint in " ".join(result["failure"]["suggestedActions"])
    assert len(api.tries) == 1


def test_an_endpoint_that_hangs_is_given_up_in_time(room: Any, api: Any) -> None:
    import threading

    free = threading.Event()

    def hang(*_: Any) -> tuple[int, dict[str, str], Any]:
        free.wait(60)
        return 200, {}, {}

    api.answer = hang
    room.write("in.csv", CSV)
    result = room.run("api_upload", job(api, timeout="100ms", retry={"attempts": 2, "base": "1ms"}))
    free.set()
    assert result["status"] == "failed"
    assert "does not answer" in result["failure"]["message"]


def test_secrets_are_sent_and_never_told(room: Any, api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORDERS_KEY", "s3cret-env")
    room.write("key.txt", "s3cret-file\n")
    room.write("in.csv", CSV)
    headers = {"Authorization": {"env": "ORDERS_KEY"}, "X-Key": {"file": "key.txt"}}
    api.answer = lambda *_: (400, {}, {})
    result = room.run("api_upload", job(api, headers=headers))
    assert api.headers[0]["Authorization"] == "s3cret-env"
    assert api.headers[0]["X-Key"] == "s3cret-file"
    kept = b"".join(path.read_bytes() for path in room.path.rglob("*") if path.is_file() and path.name != "key.txt")
    assert "s3cret" not in json.dumps(result)
    assert b"s3cret" not in kept


def test_hosts_files_and_variables_that_are_not_allowed_are_refused_together(room: Any, api: Any) -> None:
    room.write("in.csv", CSV)
    headers = {"A": {"file": "/etc/hostname"}, "B": {"env": "NOT_SET_ANYWHERE"}}
    result = room.run("api_upload", job(api, headers=headers), allowedHosts=["api.example.org"])
    assert (result["status"], result["failure"]["kind"]) == ("failed", "rejected")
    assert {fault["path"] for fault in result["summary"]["faults"]} == {"url", "headers.A", "headers.B"}
    assert api.tries == []


def test_a_killed_upload_goes_on_and_sends_nothing_again_that_was_confirmed(room: Any, api: Any) -> None:
    kills = 0
    rows = "id,name\n" + "".join(f"{n},order {n}\n" for n in range(300))
    room.write("in.csv", rows + "ragged\n")
    config = job(api, concurrency=3)
    while True:
        limit = len(api.batches) + 6
        process = room.start("api_upload", config)
        wait_until(lambda process=process, limit=limit: len(api.batches) >= limit or process.poll() is not None, "")
        if process.poll() is not None:
            break
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        kills += 1
    result = room.finish(process)
    assert result["status"] == "completed"
    assert kills
    assert sorted(int(record["id"]) for record in api.taken()) == list(range(300))
    assert result["summary"]["recordsOut"] == 300
    assert [reject["line"] for reject in room.rejects("in.csv.rejects.jsonl")] == [302]
    again = [key for key in set(api.tries) if api.tries.count(key) > 1]
    assert len(again) <= 3 * kills  # at most what was under way when it was killed


def test_a_retry_after_an_outage_goes_on_after_what_was_confirmed(room: Any, api: Any) -> None:
    api.answer = lambda api, key, records: (503 if len(set(api.tries)) > 4 else 200, {}, {})
    room.write("in.csv", CSV)
    first = room.run("api_upload", job(api, concurrency=1, retry={"attempts": 2, "base": "1ms"}))
    assert first["status"] == "failed"
    before = set(api.batches)
    assert len(before) == 4
    api.answer = lambda *_: (200, {}, {})
    n = len(api.tries)
    assert (
        room.run("api_upload", job(api, concurrency=1, retry={"attempts": 2, "base": "1ms"}))["status"] == "completed"
    )
    assert not before & set(api.tries[n:])
    assert sorted_rows(api.taken()) == ROWS
