"""The configuration: every fault at once with its path and line, and every setting shown where people look for it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from etlmon.core.config import DEFAULT, Config, check_config, is_loopback, parse_config
from etlmon.core.config_check import MAX_BYTES, fields_of, read_toml
from etlmon.core.config_leaf import Secret
from etlmon.core.config_show import describe, effective, given_in, meaning, starter, table_header
from etlmon.core.errors import Invalid

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "config.toml"
ENV = {"HOOK_KEY": "k", "PD_KEY": "p", "SMTP_PASSWORD": "s"}


def faults(toml: str | bytes) -> dict[str, str]:
    with pytest.raises(Invalid) as caught:
        parse_config(toml.encode() if isinstance(toml, str) else toml, ENV)
    return {fault.path: fault.message for fault in caught.value.errors}


def test_values_are_read_with_their_units() -> None:
    config = parse_config(
        b"""
        [server]
        port = 0
        allowed_origins = ["https://ops.example.org:8443"]
        [monitoring]
        job_tracking = { lost_after = "2m", progress_update_interval = "250ms" }
        logs.max_bytes = "2GiB"
        logs.max_line_bytes = "64KB"
        [monitoring.thresholds]
        cpu = 1
        failure_rate = 0.25
        [[channels]]
        name = "ops"
        kind = "WebHook"
        url = {env = "HOOK_KEY"}
        [jobs."orders nightly"]
        type = "csv_processing"
        config = { source = { path = "in/*.csv", batch = [1, 2.5, true] } }
        retries = 2
        expected_duration = "25m"
        """,
        ENV,
    )
    assert config.server.port == 0
    assert config.server.allowed_origins == ("https://ops.example.org:8443",)
    assert config.monitoring.job_tracking.lost_after == 120_000
    assert config.monitoring.job_tracking.progress_update_interval == 250
    assert config.monitoring.logs.max_bytes == 2 * 1024**3
    assert config.monitoring.logs.max_line_bytes == 64_000
    assert config.monitoring.thresholds.cpu == 1.0
    assert config.channels[0].kind == "webhook"
    assert config.channels[0].url == Secret(env="HOOK_KEY")
    assert config.jobs["orders nightly"].expected_duration == 1_500_000
    assert config.jobs["orders nightly"].config == {"source": {"path": "in/*.csv", "batch": [1, 2.5, True]}}
    assert config.queue == DEFAULT.queue


def test_every_fault_is_told_at_once_with_its_path_and_line() -> None:
    found = faults(
        """\
[server]
port = "8081"
prot = 1
host = "a b"
[monitoring.logs]
level = "infos"
retention_days = 0
max_bytes = 5
max_line_bytes = "1B"
[monitoring.job_tracking]
lost_after = 90
log_streaming_enabled = 1
[monitoring.thresholds]
cpu = 1.5
memory = true
[[channels]]
name = "ops"
kind = "email"
[[channels]]
name = "hook"
kind = "webhook"
url = "https://x"
secret = "hunter2"
filter = "naem:x"
[jobs.a]
tags = { env = 5 }
timeout = "1x"
[jobs.b]
config = { at = 2026-01-01 }
[jobs.c]
schedule = "* * * *"
[watches]
"""
    )
    assert list(found) == [
        *("server.port", "server.prot", "server.host", "monitoring.logs.level", "monitoring.logs.retention_days"),
        *("monitoring.logs.max_bytes", "monitoring.logs.max_line_bytes", "monitoring.job_tracking.lost_after"),
        *("monitoring.job_tracking.log_streaming_enabled", "monitoring.thresholds.cpu", "monitoring.thresholds.memory"),
        *("channels[0].host", "channels[0].sender", "channels[0].recipients", "channels[1].secret"),
        *("jobs.a.tags", "jobs.a.timeout", "jobs.b.config", "jobs.c.schedule", "watches"),
    ]
    assert found["server.port"] == "must be a whole number, not a text (line 2)"
    assert found["server.prot"] == "unknown key: did you mean 'port'? (line 3)"
    assert "did you mean 'info'?" in found["monitoring.logs.level"]
    assert found["monitoring.logs.retention_days"] == "must be at least 1 (line 7)"
    assert found["monitoring.logs.max_line_bytes"] == "must be at least 256B (line 9)"
    assert found["channels[0].host"] == "is needed for kind email (line 16)"
    assert found["channels[1].secret"].endswith("a secret does not stand in the config (line 23)")
    assert "hunter2" not in str(found)
    assert "not true or false" in faults("server.port = true")["server.port"]


def test_what_must_hold_between_settings_is_checked_too() -> None:
    assert faults('[server]\ntls_cert = "c.pem"') == {
        "server.tls_key": "is needed: tls_cert and tls_key go together (line 1)"
    }
    assert "others can reach it" in faults('[auth]\nenabled = false\n[server]\nhost = "0.0.0.0"')["auth.enabled"]
    hook = '[[channels]]\nname = "a"\nkind = "webhook"\nurl = "https://x"\n'
    assert "name of another channel" in faults(hook + hook)["channels[1].name"]
    assert "column 1" in faults(hook + 'filter = "naem:x"')["channels[0].filter"]
    assert list(faults('[jobs.a]\ncommand = ["x"]\nconfig = {}\n[jobs.b]\nschedule = "0 2 * * *"')) == [
        "jobs.a.type",
        "jobs.a.config",
        "jobs.b.schedule",
    ]
    parse_config(b'[auth]\nenabled = false\n[server]\nhost = "localhost"', {})


def test_flags_are_held_to_the_same_rules() -> None:
    open_door = parse_config(b"[auth]\nenabled = false", {})
    check_config(open_door)
    from msgspec.structs import replace

    with pytest.raises(Invalid, match="others can reach it"):
        check_config(replace(open_door, server=replace(open_door.server, host="::")))


def test_loopback_is_told_from_what_looks_like_it() -> None:
    assert all(map(is_loopback, ["127.0.0.1", "127.9.9.9", "localhost", "LOCALHOST", "::1", "[::1]"]))
    assert not any(map(is_loopback, ["0.0.0.0", "::", "127.0.0.1.evil.org", "localhost.evil.org", "10.0.0.1", ""]))


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "the file is empty"),
        (b" \n\t\n", "the file is empty"),
        (b"\xef\xbb\xbf[server]\n", "line 1: it begins with a byte-order mark"),
        (b"[server]\nport = 1\r\n", "line 2: it ends in a carriage return"),
        (b"[server]\n\x80\x81", "line 2: it is not UTF-8"),
        (b"[server]\nport = 1\nport = 2\n", "line 3: Cannot overwrite a value"),
        (b"[server]\n[server]\n", "line 2: Cannot declare"),
        (b"[server\n", "line 1: "),
        (b"[server]\nport = \n", "line 2: Invalid value"),
        (b"\x00\x01\x02", "line 1: "),
        (b"a = " + b"[" * 100_000, "nested too deeply"),
        (b"a = " + b"{a=" * 100_000, "nested too deeply"),
        (b"[server]\nport = " + b"9" * 5000, ""),
        (b"#" * (MAX_BYTES + 1), f"larger than {MAX_BYTES} bytes"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_what_cannot_be_read_is_refused_with_its_line(raw: bytes, message: str) -> None:
    (told,) = faults(raw).values()
    assert message in told


def test_a_free_table_is_bounded_and_plain() -> None:
    deep = "a = " + "{a = " * 40 + "1" + "}" * 40
    assert "nested deeper than 32" in faults(f"[jobs.x]\ntype = 'csv'\n[jobs.x.config]\n{deep}")["jobs.x.config"]
    assert "inf or nan" in faults("[jobs.x]\ntype = 'csv'\nconfig = {a = [nan]}")["jobs.x.config"]


def test_a_missing_secret_is_refused_and_no_secret_is_ever_shown() -> None:
    head = '[[channels]]\nname = "a"\nkind = "webhook"\n'
    assert "variable NOPE is not set" in faults(head + 'url = {env = "NOPE"}')["channels[0].url"]
    for wrong in ('{env = "A", file = "b"}', "{}", '{enw = "A"}', "{env = 5}", "5", '{env = ""}'):
        assert "must be {env" in faults(head + f"url = {wrong}")["channels[0].url"]
    config = parse_config(
        (head + 'url = "https://hooks.example.org/T0/hunter2"\nsecret = {env = "HOOK_KEY"}').encode(), ENV
    )
    shown = {each.path: each.value for each in effective(config)}
    assert shown["channels[0].url"] == "***"
    assert shown["channels[0].secret"] == '{env = "HOOK_KEY"}'
    assert "hunter2" not in repr(config)


def test_names_of_jobs_are_held_to_the_rule_of_names() -> None:
    found = faults('[jobs."a\\u001bb"]\nretries = 1\n[jobs."x y"]\nretries = -1\n')
    assert 'jobs."x y".retries' in found
    assert len(found) == 2


def test_the_effective_settings_say_where_they_are_from() -> None:
    raw = b'monitoring.logs.level = "info"\n[jobs.a]\nretries = 1\n'
    shown = {each.path: each for each in effective(parse_config(raw, {}), given_in(read_toml(raw)))}
    assert (shown["monitoring.logs.level"].value, shown["monitoring.logs.level"].origin) == ("info", "file")
    assert (shown["monitoring.logs.max_bytes"].value, shown["monitoring.logs.max_bytes"].origin) == ("10GB", "default")
    assert shown["jobs.a.retries"].origin == "file"
    assert shown["jobs.a.grace"].origin == "default"
    assert shown["server.port"].restart
    assert not shown["server.log_level"].restart


def test_the_starter_changes_nothing_and_each_of_its_lines_can_be_taken_in() -> None:
    assert parse_config(starter().encode(), {}) == DEFAULT
    uncommented = re.sub(r"(?m)^#(?=[\[a-z])", "", starter())
    found = parse_config(uncommented.replace('name = "name"', 'name = "ops"').encode(), ENV)
    assert found.monitoring == DEFAULT.monitoring
    assert list(found.jobs) == ["NAME"]


def test_the_example_config_shows_every_key_with_its_default_and_unit_and_can_be_read() -> None:
    text = EXAMPLE.read_text()
    for setting in describe():
        path, _, key = setting.path.rpartition(".")
        header = table_header(path)
        commented = header.startswith("#") or setting.default is None
        section = text.split(f"\n{header}\n", 1)
        assert len(section) == 2, f"examples/config.toml lacks {header}"
        expected = f"# {meaning(setting)}\n{'#' if commented else ''}{key} = {setting.example}\n"
        assert expected in section[1].split("\n[")[0].split("\n#[")[0], f"{header} lacks:\n{expected}"
    config = parse_config(text.encode(), {})
    for field in fields_of(Config):
        if field.name not in {"channels", "jobs", "profiles"}:
            assert getattr(config, field.name) == getattr(DEFAULT, field.name)


def test_the_documentation_shows_every_key_with_its_default_and_unit() -> None:
    text = (ROOT / "docs" / "config.md").read_text()
    for setting in describe():
        path, _, key = setting.path.rpartition(".")
        default = f"`{setting.default}`" if setting.default is not None else "needed" if setting.required else "unset"
        restart = "yes" if setting.restart else ""
        row = f"| `{key}` | {default} | {setting.unit.replace('|', 'or')} | {setting.doc} | {restart} |"
        section = text.split(f"## `{table_header(path).lstrip('#')}`", 1)[1].split("\n## ")[0]
        assert row in section, f"docs/config.md lacks in {path}:\n{row}"


def test_every_key_of_the_interface_is_there_with_its_default() -> None:
    held = {setting.path: setting.default for setting in describe()}
    promised = {
        "auth.enabled": "true",
        "monitoring.websocket.port": "0",
        "monitoring.websocket.max_connections": "1000",
        "monitoring.websocket.heartbeat_interval": '"30s"',
        "monitoring.websocket.message_queue_size": "10000",
        "monitoring.job_tracking.progress_update_interval": '"0s"',
        "monitoring.job_tracking.timeout_warning_threshold": '"25m"',
        "monitoring.job_tracking.lost_after": '"90s"',
        "monitoring.logs.retention_days": "30",
        "monitoring.logs.max_line_bytes": '"16KB"',
        "monitoring.history.retention_days": "30",
        "monitoring.notifications.retry_attempts": "3",
        "monitoring.notifications.retry_delay": '"5s"',
        "monitoring.notifications.max_age": '"1d"',
        "monitoring.thresholds.failure_rate": "0.1",
        "monitoring.thresholds.failure_window": '"1h"',
        "monitoring.thresholds.failure_min_jobs": "10",
        "monitoring.thresholds.queue_depth": "50",
        "monitoring.thresholds.update_delay": '"500ms"',
        "monitoring.thresholds.websocket_failures": "10",
        "monitoring.thresholds.cpu": "0.9",
        "monitoring.thresholds.memory": "0.9",
        "monitoring.thresholds.disk": "0.95",
        "monitoring.thresholds.stalled": '"10m"',
    }
    assert held | promised == held
    others = """server.host server.port server.public_url server.allowed_origins server.allowed_hosts server.tls_cert
        server.tls_key server.log_level server.log_format monitoring.websocket.enabled monitoring.logs.level
        monitoring.job_tracking.log_streaming_enabled monitoring.job_tracking.metrics_collection_enabled
        monitoring.logs.max_bytes monitoring.notifications.enabled monitoring.notifications.job_failure_alerts
        monitoring.notifications.timeout_warnings monitoring.notifications.resource_alerts channels[].name
        channels[].kind channels[].min_severity queue.max_depth worker.concurrency worker.allowed_roots
        worker.allowed_hosts profiles.NAME.url profiles.NAME.token_file"""
    definition = """type config command steps owner tags priority expected_duration timeout retries schedule timezone
        grace start"""
    assert set(others.split()) | {f"jobs.NAME.{key}" for key in definition.split()} <= set(held)


EXAMPLE_BYTES = EXAMPLE.read_bytes()


@given(st.data())
def test_no_mutation_of_a_config_does_anything_but_parse_or_be_refused(data: st.DataObject) -> None:
    raw = bytearray(EXAMPLE_BYTES)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(raw) - 1))
        upto = at + data.draw(st.integers(0, 40))
        raw[at:upto] = data.draw(
            st.binary(max_size=6) | st.sampled_from([b"\n[", b'"', b" = ", b"{", b"5", b"jobs", b"."])
        )
    try:
        config = parse_config(bytes(raw), ENV)
    except Invalid as refused:
        told = [fault.message for fault in refused.errors]
        config = None
    else:
        told = ["fine"]
    assert config is None or isinstance(config, Config)
    assert told
    assert all(told)


@given(st.binary(max_size=80) | st.text(st.sampled_from("[]{}=\"'.\n#aserver1-:"), max_size=80).map(str.encode))
@example(b"monitoring = 5")
@example(b"channels = 5")
@example(b"jobs = [1]")
@example(b'[jobs]\na = 5\n"" = {}')
@example(b"[[server]]")
def test_any_bytes_give_a_config_or_faults(raw: bytes) -> None:
    try:
        found: object = parse_config(raw, {})
    except Invalid as refused:
        found = refused.errors
    assert found
