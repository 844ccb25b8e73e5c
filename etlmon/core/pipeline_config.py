"""The pipelines' configs: a dict → frozen values, with every fault and its path. Touches nothing.

The keys and their meaning: docs/pipelines.md.
"""

from __future__ import annotations

from collections.abc import Callable

from etlmon.core.errors import Fault, Invalid
from etlmon.core.pipeline_columns import read_csv_processing
from etlmon.core.pipeline_fields import read_field_mapping
from etlmon.core.pipeline_keys import Keys
from etlmon.core.pipeline_shapes import PIPELINES as PIPELINES
from etlmon.core.pipeline_shapes import STEPS as STEPS
from etlmon.core.pipeline_shapes import PipelineConfig
from etlmon.core.pipeline_upload import read_api_upload
from etlmon.core.text import hint, sentence


def parse_pipeline(kind: str, config: object) -> PipelineConfig:
    """The typed config of a pipeline; ``errors.Invalid`` with every fault when something is wrong."""
    if kind not in PIPELINES:
        fault = Fault("type", f"must be one of {', '.join(PIPELINES)}{hint(kind, PIPELINES)}")
        raise Invalid(sentence(f"type: {fault.message}"), errors=(fault,))
    faults: list[Fault] = []
    keys = Keys(config, "", faults)
    read: dict[str, Callable[[Keys], PipelineConfig]] = {
        "csv_processing": read_csv_processing,
        "field_mapping": read_field_mapping,
        "api_upload": read_api_upload,
    }
    parsed = read[kind](keys)
    keys.close()
    if faults:
        raise refused(faults)
    return parsed


def refused(faults: list[Fault]) -> Invalid:
    """The error that carries every fault; its sentence names the first ten."""
    told = "; ".join(f"{fault.path}: {fault.message}" if fault.path else fault.message for fault in faults[:10])
    more = f" (and {len(faults) - 10} more)" if len(faults) > 10 else ""
    return Invalid(sentence(f"The config is refused: {told}{more}"), errors=tuple(faults))
