"""csv_processing: check and clean records column by column."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Context, Decimal
from typing import Any

import msgspec

from etlmon.core.errors import Fault
from etlmon.core.pipeline_shapes import STEPS, Column, CsvProcessing, Expect
from etlmon.core.pipeline_values import written
from etlmon.core.text import hint
from etlmon.pipelines.batch import Batch, Table
from etlmon.pipelines.columns import Rule
from etlmon.pipelines.ends import PipelineFailed
from etlmon.pipelines.flow import Flow, Outcome, no_records
from etlmon.pipelines.run import Run
from etlmon.pipelines.text_sinks import as_texts
from etlmon.pipelines.unique import Unique, key_of

VALIDATING, HEADERS, DATA, RESULTS, COMPLETING = STEPS["csv_processing"]
_EXACT = Context(prec=60)


class OutColumn(msgspec.Struct, frozen=True, kw_only=True):
    """One column of the output: where it stands in the source (None: nowhere), and what is asked of it."""

    name: str
    source: str
    place: int | None
    rule: Rule | None

    @property
    def kind(self) -> str | None:
        """Its type, where it has one."""
        return self.rule.column.type if self.rule is not None else None


class CsvPipeline:
    """Reads, checks, writes what passes, and puts the rest with the rejects."""

    def __init__(self, run: Run, config: CsvProcessing) -> None:
        run.job.step(VALIDATING)
        self._run = run
        self._config = config
        self._flow = Flow(run, config, extra="ignore" if config.unknown_columns == "drop" else "reject")

    def process(self) -> None:
        """Do it all."""
        flow, job = self._flow, self._run.job
        if not flow.is_written:
            flow.sources.check_unchanged(flow.done.sources)
            job.step(HEADERS)
            flow.sources.read_headers()
            if not flow.sources.names:
                raise no_records(", ".join(self._config.source.paths))
            checker = Checker(self._run, self._config, flow)
            names = [column.name for column in checker.columns]
            job.log.info("%d columns: %s", len(names), ", ".join(names)[:500])
            flow.open(names, [column.kind for column in checker.columns])
            job.step(DATA)
            flow.pump(checker.check)
            job.step(RESULTS)
            checker.check_results(self._config.expect)
        job.step(COMPLETING)
        flow.finish()

    def give_up(self, failure: Exception | None) -> None:
        """Leave the target as it was."""
        self._flow.give_up(failure)

    def summary(self) -> dict[str, Any]:
        """What it did."""
        return self._flow.summary()


class Checker:
    """The columns' rules over batches."""

    def __init__(self, run: Run, config: CsvProcessing, flow: Flow) -> None:
        self._config = config
        self._flow = flow
        self._typed = flow.sink.typed
        self._is_texts = flow.sources.is_texts
        self.columns = out_columns(config, flow.sources.names, typed=self._typed)
        self._as_read = [column.place for column in self.columns] == list(range(len(flow.sources.names)))
        self._unique = [(at, column) for at, column in enumerate(self.columns) if _is_unique(column)]
        self._seen: Unique | None = None
        if self._unique:
            self._seen = Unique(run.work)
            self._seen.resume(flow.done.records_in)
            flow.on_save = self._seen.sync
        self._sums = {name: Decimal(flow.done.sums.get(name, "0")) for name in config.expect.sums}
        self._summed = self._places_of(config.expect)

    def _places_of(self, expect: Expect) -> list[tuple[str, int]]:
        found, faults = [], []
        for name in expect.sums:
            at = next((at for at, column in enumerate(self.columns) if name in (column.source, column.name)), None)
            if at is None:
                close = hint(name, [column.source for column in self.columns])
                faults.append(Fault(f"expect.sum.{name}", f"there is no such column{close}"))
            elif self.columns[at].kind not in ("integer", "number"):
                faults.append(Fault(f"expect.sum.{name}", "the column must be an integer or a number"))
            else:
                found.append((name, at))
        if faults:
            raise PipelineFailed("; ".join(f"{fault.path}: {fault.message}" for fault in faults) + ".", kind="rejected")
        return found

    def check(self, batch: Batch) -> Outcome:
        """What of a batch passes, and why the rest does not."""
        why: dict[int, tuple[str, str]] = {}
        columns: list[Sequence[Any]] = []
        lines = batch.lines if self._as_read and not self._typed else None
        for column in self.columns:
            if column.rule is None:
                columns.append(() if lines is not None else self._as_it_is(batch, column))
                continue
            given = batch.column(column.place) if column.place is not None else [None] * batch.n
            found, bad = column.rule.check(given, texts=self._is_texts and column.place is not None)
            for at, reason in bad.items():
                why.setdefault(at, (column.source, reason))
            columns.append(found)
            if lines is not None and found is not given and not _equal_but(found, given, bad):
                lines = None
                columns[:-1] = [self._filled(batch, place, each) for place, each in enumerate(columns[:-1])]
        for at, column in self._unique:
            self._refuse_repeats(batch, at, column, columns[at], why)
        refused = [batch.reject(at, *why[at]) for at in why] + batch.refused
        table = Table([] if lines is not None else columns, batch.n, lines)
        self._add_up(columns, why)
        if refused:
            refused.sort(key=lambda reject: reject.line)
            table = table.without(why)
        return Outcome(table=table, refused=refused)

    def _filled(self, batch: Batch, place: int, column: Sequence[Any]) -> Sequence[Any]:
        """A column that was not looked at as long as the lines could be written as they came."""
        return self._as_it_is(batch, self.columns[place]) if self.columns[place].rule is None else column

    def _as_it_is(self, batch: Batch, column: OutColumn) -> Sequence[Any]:
        values = batch.column(column.place or 0)
        return values if self._typed or self._is_texts else as_texts(values)

    def _refuse_repeats(
        self, batch: Batch, at: int, column: OutColumn, values: Sequence[Any], why: dict[int, tuple[str, str]]
    ) -> None:
        assert self._seen is not None  # noqa: S101 - made when there is a unique column
        texts = {place: written(values[place]) for place in range(batch.n) if place not in why}
        known = self._seen.known(at, list(texts.values()))
        new: dict[bytes, str] = {}
        for place, text in texts.items():
            if text == "" and not column_required(column):
                continue
            key = key_of(text)
            before = known.get(key) or new.get(key)
            if before is None:
                new[key] = f"{batch.source}, line {batch.line_of(place)}"
            else:
                why[place] = (column.source, f"repeats the value of {before}")
        self._seen.add(at, new, self._flow.done.records_in)

    def _add_up(self, columns: list[Sequence[Any]], why: dict[int, tuple[str, str]]) -> None:
        for name, at in self._summed:
            total = self._sums[name]
            for place, value in enumerate(columns[at]):
                if value not in ("", None) and place not in why:
                    total = _EXACT.add(total, Decimal(str(value)))
            self._sums[name] = total
            self._flow.done.sums[name] = str(total)

    def check_results(self, expect: Expect) -> None:
        """PipelineFailed when the whole output is not what was expected."""
        n, faults = self._flow.done.records_out, []
        if expect.min_rows is not None and n < expect.min_rows:
            faults.append(f"the output has {n} rows, and at least {expect.min_rows} were expected (expect.min_rows)")
        if expect.max_rows is not None and n > expect.max_rows:
            faults.append(f"the output has {n} rows, and at most {expect.max_rows} were expected (expect.max_rows)")
        for name, wanted in expect.sums.items():
            if self._sums[name] != Decimal(wanted):
                faults.append(f"the sum of {name} is {self._sums[name]}, and {wanted} was expected (expect.sum)")
        if faults:
            told = "; ".join(faults)
            raise PipelineFailed(
                f"{told[0].upper()}{told[1:]}.",
                "Compare the source with the system it comes from; the target is as before.",
            )


def column_required(column: OutColumn) -> bool:
    """Whether its values are never missing."""
    return column.rule is not None and column.rule.column.required


def _is_unique(column: OutColumn) -> bool:
    return column.rule is not None and column.rule.column.unique


def _equal_but(found: Sequence[Any], given: Sequence[Any], bad: dict[int, str]) -> bool:
    """Whether nothing was changed but what is refused anyway."""
    same = list(found)
    for at in bad:
        same[at] = given[at]
    return same == list(given)


def out_columns(config: CsvProcessing, names: Sequence[str], *, typed: bool) -> list[OutColumn]:
    """The columns of the output, in the source's order; PipelineFailed when what is asked for is not there."""
    unknown = [name for name in names if name not in config.columns]
    if unknown and config.unknown_columns == "reject":
        listed = ", ".join(f"{name!r}{hint(name, config.columns)}" for name in unknown[:5])
        raise PipelineFailed(
            f"The source has columns that the config does not know: {listed}.",
            'List them in columns, or set unknown_columns to "keep" or "drop".',
        )
    missing = [name for name, column in config.columns.items() if name not in names and column.required]
    if missing:
        listed = ", ".join(f"{name!r}{hint(name, names)}" for name in missing)
        raise PipelineFailed(
            f"The source has no column {listed}; it has {', '.join(names)[:500]}.",
            "Correct the names in columns, or the source; check source.format.delimiter.",
        )
    found = [
        _out_column(config.columns.get(name), name, place, typed=typed)
        for place, name in enumerate(names)
        if name in config.columns or config.unknown_columns != "drop"
    ]
    added = [column for name, column in config.columns.items() if name not in names and column.default is not None]
    found += [_out_column(column, column.name, None, typed=typed) for column in added]
    made = [column.name for column in found]
    twice = next((name for name in made if made.count(name) > 1), None)
    if twice is not None:
        raise PipelineFailed(f"Two columns would be called {twice!r} in the output.", "Change a rename in columns.")
    return found


def _out_column(column: Column | None, name: str, place: int | None, *, typed: bool) -> OutColumn:
    if column is None:
        return OutColumn(name=name, source=name, place=place, rule=None)
    return OutColumn(name=column.rename or name, source=name, place=place, rule=Rule(column, typed=typed))
