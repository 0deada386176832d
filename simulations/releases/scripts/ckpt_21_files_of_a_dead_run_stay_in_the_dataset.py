# Clause: CKPT-21 TABLE-01
# Releases: 0.8.0 0.9.0 0.9.4 0.9.6 0.9.7
# Defect: If a process dies after it saved its first row group and before it wrote the metadata, the
#   next one begins anew in the same folder and leaves the saved file there: records stand twice.
# Public: yes
# Needs: 0.8.0, which has `max_concurrent_row_groups`
"""Row groups of one. Record 3 is ready first, its file is saved, and the process is killed (in
`on_batch_complete`, which comes before the metadata). The next process resumes with another
function and row groups of four. It must refuse, or give each record once."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
from typing import Any


def create(folder: str, size: int, value: str, ended: Any = None) -> list[list[Any]]:
    import data_designer.config as dd
    import pandas
    from data_designer.config.seed_source_dataframe import DataFrameSeedSource
    from data_designer.interface.data_designer import DataDesigner
    from data_designer.engine.storage.artifact_storage import ResumeMode  # isort: skip

    async def a(row: dict[str, Any]) -> dict[str, Any]:
        await asyncio.sleep(0.1 if row["n"] == 3 else 0.5)
        return {**row, "a": value}

    a.__name__ = a.__qualname__ = f"make_{value}"
    a = dd.custom_column_generator(required_columns=["n"])(a)

    model = dd.ModelConfig(alias="none", model="none", provider="none")
    builder = dd.DataDesignerConfigBuilder(model_configs=[model])
    builder.with_seed_dataset(DataFrameSeedSource(df=pandas.DataFrame({"n": range(4)})))
    column = dd.CustomColumnConfig(name="a", generator_function=a)
    builder.add_column(column)
    provider = dd.ModelProvider(name="none", endpoint="http://127.0.0.1:9")
    designer = DataDesigner(artifact_path=folder, model_providers=[provider])
    designer.set_run_config(dd.RunConfig(buffer_size=size, max_concurrent_row_groups=4))
    asked: dict[str, Any] = {"resume": ResumeMode.IF_POSSIBLE, "on_batch_complete": ended}
    made = designer.create(builder, num_records=4, dataset_name="d", **asked).load_dataset()
    return sorted(made[["n", "a"]].values.tolist())


if __name__ == "__main__":
    os.environ |= {"NEMO_TELEMETRY_ENABLED": "false", "DATA_DESIGNER_ASYNC_ENGINE": "1"}
    if len(sys.argv) > 1:
        create(sys.argv[1], 1, "old", lambda _: os._exit(9))
    with tempfile.TemporaryDirectory() as folder:
        os.environ["DATA_DESIGNER_HOME"] = folder
        subprocess.run([sys.executable, __file__, folder], capture_output=True, check=False)
        found = create(folder, 4, "new")
    print(f"records: {found}")
    print("as expected" if len(found) == 4 else "DEFECT: a record stands twice in the dataset")
    sys.exit(0 if len(found) == 4 else 1)
