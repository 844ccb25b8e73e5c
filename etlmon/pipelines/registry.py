"""Which pipeline a config is for. To add one: a file, its config in ``core.pipeline_config``, and a case here."""

from __future__ import annotations

from typing import Any, Protocol, assert_never

from etlmon.core.pipeline_shapes import ApiUpload, CsvProcessing, FieldMapping, PipelineConfig
from etlmon.pipelines.run import Run


class Pipeline(Protocol):
    """One pipeline of one attempt: it has looked at what it will touch, and touched nothing yet."""

    def process(self) -> None:
        """Do it all."""

    def give_up(self, failure: Exception | None) -> None:
        """It failed, or was cancelled (None): leave the targets as they were."""

    def summary(self) -> dict[str, Any]:
        """What it did."""


def open_pipeline(run: Run, config: PipelineConfig) -> Pipeline:
    """The pipeline of a config; each is imported when it is wanted."""
    match config:
        case CsvProcessing():
            from etlmon.pipelines.csv_processing import CsvPipeline

            return CsvPipeline(run, config)
        case FieldMapping():
            from etlmon.pipelines.field_mapping import MappingPipeline

            return MappingPipeline(run, config)
        case ApiUpload():
            from etlmon.pipelines.api_upload import UploadPipeline

            return UploadPipeline(run, config)
        case _:
            assert_never(config)
