# Clause: SCHED-10
# Releases: 0.6.0 0.6.1 0.7.0 0.8.0 0.9.0 0.9.4 0.9.6 0.9.7
# Defect: A dataset that is extended twice, each time by something else than whole row groups, ends
#   with records missing, and `create` returns as if it were complete.
# Public: yes
"""A dataset of 4 records in row groups of 3 is created, extended to 6 records and extended to 9,
through the public interface. No generator ever fails. In the end there must be 9 records."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from typing import Any

TARGETS = (4, 6, 9)


def records(folder: str) -> list[int] | None:
    """Create a dataset and extend it twice; the records in the end. None if that cannot be."""
    import data_designer.config as dd
    import pandas
    from data_designer.config.seed_source_dataframe import DataFrameSeedSource
    from data_designer.interface.data_designer import DataDesigner

    try:
        # Last, for releases in which the modules import each other in a circle.
        from data_designer.engine.storage.artifact_storage import ResumeMode  # isort: skip
    except ImportError:
        return None

    @dd.custom_column_generator(required_columns=["n"])
    def generate(row: dict[str, Any]) -> dict[str, Any]:
        return {**row, "a": "fine"}

    def config() -> Any:
        model = dd.ModelConfig(alias="none", model="none", provider="none")
        builder = dd.DataDesignerConfigBuilder(model_configs=[model])
        table = pandas.DataFrame({"n": range(TARGETS[-1])})
        builder.with_seed_dataset(DataFrameSeedSource(df=table))
        builder.add_column(dd.CustomColumnConfig(name="a", generator_function=generate))
        return builder

    logging.getLogger("data_designer").setLevel(logging.CRITICAL)
    provider = dd.ModelProvider(name="none", endpoint="http://127.0.0.1:9")
    designer = DataDesigner(artifact_path=folder, model_providers=[provider])
    designer.set_run_config(dd.RunConfig(buffer_size=3))
    found: list[int] = []
    for rows in TARGETS:
        result = designer.create(
            config(), num_records=rows, dataset_name="d", resume=ResumeMode.IF_POSSIBLE
        )
        found = sorted(result.load_dataset()["n"].tolist())
        print(f"asked for {rows} records, have {found}")
    return found


def main() -> int:
    os.environ.setdefault("NEMO_TELEMETRY_ENABLED", "false")
    print(__doc__)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["DATA_DESIGNER_HOME"] = folder
        os.environ.setdefault("DATA_DESIGNER_ASYNC_ENGINE", "1")
        found = records(folder)
    if found is None:
        print("ABSENT: this release resumes nothing")
        return 2
    if found != list(range(TARGETS[-1])):
        print("DEFECT: records are missing, and create returned as if there were none")
        return 1
    print("as expected")
    return 0


if __name__ == "__main__":
    sys.exit(main())
