# Clause: CKPT-22
# Releases: 0.6.0 0.6.1 0.7.0 0.8.0 0.9.0 0.9.4 0.9.6 0.9.7
# Defect: Of a row group whose records were all dropped nothing is kept: each resume of the finished
#   dataset makes the same calls again, although single records that were dropped are not.
# Public: yes
# Needs: 0.6.0, which resumes a dataset
"""Row groups of two. Records 0, 1 and 2 of 4 fail for good, and the run ends well. To resume it is
to do nothing: everything was tried. But records 0 and 1 are called again; record 2 is not, because
of its group there is a file."""

from __future__ import annotations

import os
import sys
import tempfile
from typing import Any

calls: list[int] = []


def create(folder: str, resume: str) -> None:
    import data_designer.config as dd
    import pandas
    from data_designer.config.seed_source_dataframe import DataFrameSeedSource
    from data_designer.interface.data_designer import DataDesigner
    from data_designer.engine.storage.artifact_storage import ResumeMode  # isort: skip

    @dd.custom_column_generator(required_columns=["n"])
    async def a(row: dict[str, Any]) -> dict[str, Any]:
        calls.append(row["n"])
        if row["n"] < 3:
            raise ValueError("from the script")
        return {**row, "a": "fine"}

    model = dd.ModelConfig(alias="none", model="none", provider="none")
    builder = dd.DataDesignerConfigBuilder(model_configs=[model])
    builder.with_seed_dataset(DataFrameSeedSource(df=pandas.DataFrame({"n": range(4)})))
    column = dd.CustomColumnConfig(name="a", generator_function=a)
    builder.add_column(column)
    provider = dd.ModelProvider(name="none", endpoint="http://127.0.0.1:9")
    designer = DataDesigner(artifact_path=folder, model_providers=[provider])
    designer.set_run_config(dd.RunConfig(buffer_size=2, disable_early_shutdown=True))
    designer.create(builder, num_records=4, dataset_name="d", resume=ResumeMode(resume))


if __name__ == "__main__":
    os.environ |= {"NEMO_TELEMETRY_ENABLED": "false", "DATA_DESIGNER_ASYNC_ENGINE": "1"}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["DATA_DESIGNER_HOME"] = folder
        create(folder, "never")
        print(f"calls of a for records {sorted(calls)}")
        calls.clear()
        create(folder, "always")
    print(f"calls of a in the resume: for records {sorted(calls)}")
    print("DEFECT: records are made again that were given up" if calls else "as expected")
    sys.exit(1 if calls else 0)
