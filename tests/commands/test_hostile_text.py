"""Text from outside never reaches a terminal or a pipe raw, from any command, in any format, out of any field."""

from __future__ import annotations

import json
import re

import pytest
import yaml

RAW = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
EVIL = (
    "\x1b]52;c;Zm9v\x07\x1bc\x1b[2J\x9b31m\x9d0;x\x9c\x00\x7f\r\nrow 2\ttab"
    "\u202egnp.exe\u2066\u200b\ufeff\u2028\U000e0041[/foo][bold]x[/bold]%s{0}"
)
OWN_COLOURS = re.compile("\x1b\\[(?:1|2|31|32|33|34|35|0)m")

COMMANDS = [
    ("jobs", "list"),
    ("jobs", "show", "0a"),
    ("jobs", "events", "0a"),
    ("jobs", "metrics", "0a"),
    ("jobs", "logs", "0a"),
    ("jobs", "logs", "0a", "0b", "--timestamps"),
    ("jobs", "pause", "0a"),
    ("jobs", "wait", "0b"),
    ("jobs", "watch", "0b"),
    ("logs",),
    ("history", "list"),
    ("history", "stats"),
    ("history", "export"),
    ("tokens", "list"),
    ("tokens", "create", "--role", "viewer", "--name", EVIL.replace("\x00", "")),
    ("connections",),
    ("audit",),
    ("health",),
    ("health", "--system"),
    ("doctor",),
]


def spoil(value):
    """Every text in a value made evil, but for what the commands themselves must understand."""
    plain = {"id", "status", "at", "createdAt", "startedAt", "finishedAt", "updatedAt", "level", "jobId"}
    if isinstance(value, dict):
        return {key: inner if key in plain else spoil(inner) for key, inner in value.items()} | (
            {} if "id" in value else {EVIL: EVIL}
        )
    if isinstance(value, list):
        return [spoil(inner) for inner in value]
    return EVIL if isinstance(value, str) else value


@pytest.fixture
def evil_cast(cast):
    cast.audit = [{"id": "1", "at": "x", "actor": "", "action": "", "subject": "", "detail": {"a": ""}}]
    cast.connections = [{"id": "c1", "name": "", "role": "", "state": "", "filters": {"q": ""}}]
    cast.tokens = [{"id": "tok-1", "name": "", "role": "", "owner": ""}]
    cast.summary = {"names": [""], "nested": {"k": ""}}
    for part in ("jobs", "lines", "events", "audit", "connections", "tokens", "summary", "health"):
        setattr(cast, part, spoil(getattr(cast, part)))
    for job in cast.jobs:
        job.update(type=EVIL, config={EVIL: EVIL}, summary={EVIL: [EVIL]}, recentLogs=cast.lines[:1], steps=[EVIL])
        job["controlPending"] = {"action": EVIL, "by": EVIL, "at": EVIL, "reason": EVIL}
        job["estimate"] = {"low": EVIL, "high": EVIL, "basis": EVIL}
        job["estimatedCompletion"] = EVIL
    cast.events[0]["at"] = EVIL
    return cast


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: " ".join(words[:2]))
@pytest.mark.parametrize("form", ["table", "wide", "json", "jsonl", "yaml", "name"])
@pytest.mark.parametrize("terminal", [False, True], ids=["pipe", "terminal"])
def test_no_raw_control_or_bidi_character_comes_out(evil_cast, etlmon, words, form, terminal):
    result = etlmon(*words, "-o", form, terminal=terminal)
    assert result.code in (0, 1), result.err
    out = result.out
    if terminal:
        out = OWN_COLOURS.sub("", out).replace("\r\x1b[2K", "")
    assert RAW.findall(out + result.err) == []
    if not terminal and form in ("table", "wide") and words[-1] != "doctor":
        assert "row 2" not in [line[:5] for line in result.out.splitlines()]  # an evil line end makes no line


def test_json_and_yaml_keep_the_text_though_it_is_escaped(evil_cast, etlmon):
    assert json.loads(etlmon("jobs", "list", "-o", "json").out) == evil_cast.jobs
    assert yaml.safe_load(etlmon("jobs", "list", "-o", "yaml").out) == evil_cast.jobs


def test_an_evil_refusal_is_shown_safely(evil_cast, etlmon):
    evil_cast.overrides["GET", "/api/jobs"] = lambda request: (
        422,
        {"title": "x", "status": 422, "detail": EVIL, "errors": [{"path": EVIL, "message": EVIL + "2"}]},
        {"Content-Type": "application/problem+json"},
    )
    result = etlmon("jobs", "list")
    assert result.code == 2
    assert RAW.findall(result.err) == []


def test_what_the_user_typed_is_shown_safely_too(cast, etlmon):
    for words in (
        ("jobs", "list", f"--{EVIL}"),
        (EVIL,),
        ("jobs", EVIL),
        ("jobs", "list", "-o", EVIL),
        ("--url", EVIL, "jobs", "list"),
    ):
        result = etlmon(*words)
        assert result.code in (2, 3, 5), words
        assert RAW.findall(result.err) == []


def test_lone_surrogates_in_an_argument_are_a_usage_error(cast, etlmon):
    result = etlmon("jobs", "show", "\udcff")
    assert (result.code, result.err) == (2, "etlmon: An argument is not valid UTF-8.\n")


def test_an_output_that_is_not_utf8_gets_replacements_not_a_failure(evil_cast, etlmon):
    for encoding in ("ascii", "latin-1"):
        for terminal in (False, True):
            result = etlmon("jobs", "list", terminal=terminal, encoding=encoding)
            assert result.code == 0
    evil_cast.jobs[0].update(name="żółw", controlPending=None)
    assert "\t?ó?w\t" in etlmon("jobs", "list", encoding="latin-1").out
    assert "> running" in etlmon("jobs", "list", "--no-color", terminal=True, encoding="ascii").out
