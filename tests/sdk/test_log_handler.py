"""Python's own logging, attached to jobs."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import etlmon
from etlmon.sdk import guard


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    logger = logging.getLogger("orders.load")
    logger.setLevel(logging.DEBUG)
    handler = etlmon.LogHandler()
    logger.addHandler(handler)
    yield logger
    logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)


def test_lines_go_to_the_job_they_were_said_in_with_level_logger_time_and_fields(
    server: Any, reporter: Any, logger: logging.Logger
) -> None:
    logger.warning("before any job: nowhere")
    with etlmon.job("x") as job:
        job.step("load")
        logger.warning("%d bad rows in %s", 3, "orders", extra={"table": "orders", "rows": [1, 2]})
        logger.debug("100% done")
    logger.warning("after it: nowhere")
    assert reporter.flush(10)
    one, two = server.of("log")
    assert (one["message"], one["level"], one["logger"]) == ("3 bad rows in orders", "warning", "orders.load")
    assert (one["jobId"], one["step"], one["fields"]) == (job.id, "load", {"rows": [1, 2], "table": "orders"})
    assert one["at"].endswith("Z")
    assert (two["message"], two["level"]) == ("100% done", "debug")
    assert "fields" not in two


@pytest.mark.parametrize(
    ("number", "name"),
    [
        (5, "debug"),
        (10, "debug"),
        (20, "info"),
        (25, "info"),
        (30, "warning"),
        (40, "error"),
        (50, "critical"),
        (70, "critical"),
    ],
)
def test_every_level_has_its_word(server: Any, reporter: Any, logger: logging.Logger, number: int, name: str) -> None:
    logger.setLevel(1)
    with etlmon.job("x"):
        logger.log(number, "line")
    assert reporter.flush(10)
    assert server.of("log")[0].get("level", "info") == name


def test_an_exception_is_told_with_its_traceback(server: Any, reporter: Any, logger: logging.Logger) -> None:
    with etlmon.job("x") as job:
        try:
            _ = 1 / 0
        except ZeroDivisionError:
            logger.exception("failed")
            job.log.exception("failed too", row=7)
            logger.error("here", stack_info=True)
    assert reporter.flush(10)
    for message in server.messages()[:2]:
        assert message.startswith("failed")
        assert message.endswith("ZeroDivisionError: division by zero")
    assert server.of("log")[1]["fields"] == {"row": 7}
    assert "Stack (most recent call last)" in server.messages()[2]


def test_a_formatter_that_was_set_is_used(server: Any, reporter: Any, logger: logging.Logger) -> None:
    logger.handlers[0].setFormatter(logging.Formatter("<%(levelname)s> %(message)s"))
    with etlmon.job("x"):
        logger.info("said")
    assert reporter.flush(10)
    assert server.messages() == ["<INFO> said"]


def test_what_etlmon_says_itself_and_lines_within_lines_go_round_no_circle(
    server: Any, reporter: Any, logger: logging.Logger
) -> None:
    class Chatty:
        def __str__(self) -> str:
            logger.info("asked: %s", self)
            return "chatty"

    root = logging.getLogger()
    handler = etlmon.LogHandler()
    root.addHandler(handler)
    try:
        with etlmon.job("x"):
            logger.handlers[0].filters.append(lambda record: False)
            guard.warn_once("test.key", "etlmon: about itself")
            logging.getLogger("etlmon").error("and this")
            logging.getLogger("etlmonitor").error("a neighbour")
            logger.handlers[0].filters.clear()
            logger.propagate = False
            logger.error("%s", Chatty())
    finally:
        root.removeHandler(handler)
        logger.propagate = True
    assert reporter.flush(10)
    assert "a neighbour" in server.messages()
    assert "chatty" in server.messages()
    assert len(server.messages()) < 10
    assert not any("itself" in message or message == "and this" for message in server.messages())


def test_values_that_json_has_no_word_for_are_told_all_the_same(
    server: Any, reporter: Any, logger: logging.Logger
) -> None:
    from decimal import Decimal
    from pathlib import Path

    class Scalar:
        ndim = 0

        def item(self) -> int:
            return 42

    fields = {
        "price": Decimal("1.50"), "path": Path("/x"), "scalar": Scalar(), "nan": float("nan"), "big": 2**70,
        "set": {1}, "surrogate": "\ud800", "worker": threading.current_thread(), "bytes": b"x",
    }  # fmt: skip
    logger.propagate = False  # pytest keeps what propagates in its report, and no report can hold a lone surrogate
    with etlmon.job("x"):
        logger.info("line \udfff", extra=fields)
    logger.propagate = True
    assert reporter.flush(10)
    (line,) = server.of("log")
    assert line["message"] == "line \ufffd"
    assert line["fields"]["scalar"] == 42
    assert line["fields"]["price"] == "1.50"
    assert line["fields"]["surrogate"] == "\ufffd"
    assert json.dumps(line["fields"])


def test_a_wrong_call_of_logging_is_told_and_raises_nothing(server: Any, reporter: Any, logger: logging.Logger) -> None:
    with etlmon.job("x"):
        logger.handlers[0].emit(logging.LogRecord("n", 20, "f", 1, "%d of %s", ("x",), None))
        logger.handlers[0].emit(logging.LogRecord("n", 20, "f", 1, "%(a)s", ({"a": 1},), None))
    assert reporter.flush(10)
    assert server.messages() == ["%d of %s (x)", "1"]
