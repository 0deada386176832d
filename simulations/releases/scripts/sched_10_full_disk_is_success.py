# Clause: SCHED-10
# Releases: 0.5.4 0.5.5 0.5.7 0.5.9 0.6.0 0.6.1 0.7.0 0.8.0 0.9.0 0.9.4 0.9.6 0.9.7
# Defect: If a row group cannot be written (no space is left on the device), `create` returns
#   normally, with the records of that group missing.
# Public: yes
"""4 records in row groups of 2. Writing the first group fails as on a full disk: the data frame's
`to_parquet` raises OSError. No record was made wrongly, so `create` must either have 4 records in
the end, or raise."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from typing import Any


def records(folder: str) -> list[int]:
    """Create a dataset; the records that it has in the end."""
    import data_designer.config as dd
    import pandas
    from data_designer.config.seed_source_dataframe import DataFrameSeedSource
    from data_designer.interface.data_designer import DataDesigner

    @dd.custom_column_generator(required_columns=["n"])
    async def generate(row: dict[str, Any]) -> dict[str, Any]:
        return {**row, "a": "fine"}

    write = pandas.DataFrame.to_parquet

    def full(frame: Any, path: Any, *args: Any, **more: Any) -> Any:
        if "batch_00000" in str(path):
            raise OSError(28, "No space left on device")
        return write(frame, path, *args, **more)

    logging.getLogger("data_designer").setLevel(logging.CRITICAL)
    model = dd.ModelConfig(alias="none", model="none", provider="none")
    builder = dd.DataDesignerConfigBuilder(model_configs=[model])
    builder.with_seed_dataset(DataFrameSeedSource(df=pandas.DataFrame({"n": range(4)})))
    builder.add_column(dd.CustomColumnConfig(name="a", generator_function=generate))
    provider = dd.ModelProvider(name="none", endpoint="http://127.0.0.1:9")
    designer = DataDesigner(artifact_path=folder, model_providers=[provider])
    designer.set_run_config(dd.RunConfig(buffer_size=2))
    pandas.DataFrame.to_parquet = full
    try:
        made = designer.create(builder, num_records=4, dataset_name="d")
    finally:
        pandas.DataFrame.to_parquet = write
    return sorted(made.load_dataset()["n"].tolist())


def main() -> int:
    os.environ.setdefault("NEMO_TELEMETRY_ENABLED", "false")
    print(__doc__)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["DATA_DESIGNER_HOME"] = folder
        os.environ.setdefault("DATA_DESIGNER_ASYNC_ENGINE", "1")
        try:
            found = records(folder)
        except Exception as error:
            print(f"as expected, create raises: {type(error).__name__}: {str(error)[:200]}")
            return 0
    print(f"create returned; records: {found}")
    if found != [0, 1, 2, 3]:
        print("DEFECT: records are missing, and create returned as if there were none")
        return 1
    print("as expected")
    return 0


if __name__ == "__main__":
    sys.exit(main())
