"""field_mapping: records of one shape become records of another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from etlmon.core.errors import Fault
from etlmon.core.pipeline_expression import compile_expression
from etlmon.core.pipeline_shapes import STEPS, FieldMapping
from etlmon.core.text import hint
from etlmon.pipelines.batch import Batch, Reject, Table
from etlmon.pipelines.ends import ConfigRefused, PipelineFailed
from etlmon.pipelines.fields import Maker, compile_field, is_missing, refuse_unknown_zones
from etlmon.pipelines.flow import Flow, Outcome, no_records
from etlmon.pipelines.lookups import Find, from_file, from_table
from etlmon.pipelines.places import NotAllowed, must_be_file
from etlmon.pipelines.run import Run
from etlmon.pipelines.text_sinks import as_texts

LOADING, MAPPINGS, DATA, OUTPUT, COMPLETING = STEPS["field_mapping"]
DROPPED = "dropped: drop_if is true"


class MappingPipeline:
    """Reads, makes the fields of each record, writes what could be made."""

    def __init__(self, run: Run, config: FieldMapping) -> None:
        run.job.step(LOADING)
        self._run = run
        self._config = config
        refuse_unknown_zones(config.fields)
        self._lookup_files = self._places(run, config)
        self._flow = Flow(run, config, extra="reject" if config.keep_unmapped else "ignore")

    @staticmethod
    def _places(run: Run, config: FieldMapping) -> dict[int, Any]:
        found, faults = {}, []
        for at, field in enumerate(config.fields):
            if field.path:
                try:
                    found[at] = run.places.resolve(field.path)
                    must_be_file(found[at])
                except NotAllowed as fault:
                    faults.append(Fault(f"fields[{at}].table.path", str(fault)))
        if faults:
            raise ConfigRefused(*faults)
        return found

    def process(self) -> None:
        """Do it all."""
        flow, job = self._flow, self._run.job
        if not flow.is_written:
            flow.sources.check_unchanged(flow.done.sources)
            job.step(MAPPINGS)
            flow.sources.read_headers()
            if not flow.sources.names:
                raise no_records(", ".join(self._config.source.paths))
            mapper = Mapper(self._config, flow, self._finders())
            flow.open(mapper.names, mapper.kinds)
            job.step(DATA)
            flow.pump(mapper.map)
            job.step(OUTPUT)
            done = flow.done
            if done.records_in != done.records_out + done.rejected + done.dropped:
                raise PipelineFailed("The records that came in and those that went out do not add up.")
        job.step(COMPLETING)
        flow.finish()

    def _finders(self) -> dict[int, Find]:
        found: dict[int, Find] = {}
        for at, field in enumerate(self._config.fields):
            if field.table is not None:
                found[at] = from_table(field.table)
            elif at in self._lookup_files:
                found[at] = from_file(self._lookup_files[at], field.key, field.value, self._run.work, str(at))
        return found

    def give_up(self, failure: Exception | None) -> None:
        """Leave the target as it was."""
        self._flow.give_up(failure)

    def summary(self) -> dict[str, Any]:
        """What it did."""
        return self._flow.summary()


class Mapper:
    """The compiled fields over batches. ``names`` and ``kinds`` are those of the output."""

    def __init__(self, config: FieldMapping, flow: Flow, finders: dict[int, Find]) -> None:
        self._typed = flow.sink.typed
        places = {name: at for at, name in enumerate(flow.sources.names)}
        self._makers: list[tuple[str, Maker]] = []
        self.kinds: list[str | None] = []
        made = {field.to for field in config.fields}
        used = {name for field in config.fields if field.how == "from" for name in field.sources}
        if config.keep_unmapped:
            for name, place in places.items():
                if name not in made and name not in used:
                    self._add(name, _as_it_is(place), None)
        self._compile(config, places, finders)
        self.names = [name for name, _ in self._makers]
        self._required = [(self.names.index(name), name) for name in self._known(config.required)]
        self._drops = self._drop_rule(config.drop_if, places)

    def _add(self, name: str, maker: Maker, kind: str | None) -> None:
        self._makers.append((name, maker))
        self.kinds.append(kind)

    def _compile(self, config: FieldMapping, places: dict[str, int], finders: dict[int, Find]) -> None:
        faults = []
        for at, field in enumerate(config.fields):
            try:
                self._add(field.to, compile_field(field, places, finders.get(at)), field.type)
            except ValueError as fault:
                faults.append(Fault(f"fields[{at}].{field.how}", str(fault)))
        if faults:
            told = "; ".join(f"{fault.path}: {fault.message}" for fault in faults)
            raise PipelineFailed(
                f"The mapping does not fit the source: {told}.",
                f"The source has the columns {', '.join(places)[:500]}.",
            )

    def _known(self, required: Sequence[str]) -> Sequence[str]:
        missing = [name for name in required if name not in self.names]
        if missing:
            raise PipelineFailed(
                f"required names {missing[0]!r}, which is not in the output{hint(missing[0], self.names)}.",
                "Correct required, or add the field.",
            )
        return required

    @staticmethod
    def _drop_rule(text: str, places: dict[str, int]) -> Maker | None:
        if not text:
            return None
        try:
            return compile_expression(text, places)
        except ValueError as fault:
            raise PipelineFailed(f"drop_if does not fit the source: {fault}.", "Correct drop_if.") from None

    def map(self, batch: Batch) -> Outcome:
        """The records of a batch in their new shape, and why some could not be made."""
        rows: list[list[Any]] = []
        refused, dropped = list(batch.refused), list[Reject]()
        makers, drops = self._makers, self._drops
        source = zip(*batch.columns, strict=True) if batch.columns else iter(())
        for at, row in enumerate(source):
            name: str | None = None
            try:
                if drops is not None and drops(row):
                    dropped.append(batch.reject(at, None, DROPPED))
                    continue
                made = []
                for to, make in makers:
                    name = to
                    made.append(make(row))
                name = self._missing(made)
                if name is not None:
                    raise ValueError("is required and missing")
                rows.append(made)
            except (ValueError, TypeError, ArithmeticError) as fault:
                refused.append(batch.reject(at, name, str(fault)))
        refused.sort(key=lambda reject: reject.line)
        columns = [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in self.names]
        if not self._typed:
            columns = [as_texts(column) for column in columns]
        return Outcome(table=Table(columns, len(rows)), refused=refused, dropped=dropped)

    def _missing(self, made: list[Any]) -> str | None:
        return next((name for place, name in self._required if is_missing(made[place])), None)


def _as_it_is(place: int) -> Maker:
    return lambda row: row[place]
