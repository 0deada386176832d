# Clause: CKPT-12
# Releases: 0.9.6 0.9.7
# Defect: A process that is killed after it made the dataset's folder, and before it wrote into it,
#   leaves the folder empty; every later `create` with resume begins anew beside it, and pays again.
# Public: yes
# Needs: 0.6.0, which resumes a dataset
"""A process is killed right after it made the folder. `create` with IF_POSSIBLE then makes 3
records. Once more, it has nothing to do; but it looks into the empty folder, and makes all anew."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

calls: list[int] = []


def create(folder: str) -> None:
    import data_designer.config as dd
    import pandas
    from data_designer.config.seed_source_dataframe import DataFrameSeedSource
    from data_designer.interface.data_designer import DataDesigner
    from data_designer.engine.storage.artifact_storage import ResumeMode  # isort: skip

    @dd.custom_column_generator(required_columns=["n"])
    async def a(row: dict[str, Any]) -> dict[str, Any]:
        calls.append(row["n"])
        return {**row, "a": "fine"}

    model = dd.ModelConfig(alias="none", model="none", provider="none")
    builder = dd.DataDesignerConfigBuilder(model_configs=[model])
    builder.with_seed_dataset(DataFrameSeedSource(df=pandas.DataFrame({"n": range(3)})))
    builder.add_column(dd.CustomColumnConfig(name="a", generator_function=a))
    provider = dd.ModelProvider(name="none", endpoint="http://127.0.0.1:9")
    designer = DataDesigner(artifact_path=folder, model_providers=[provider])
    again = {"dataset_name": "d", "resume": ResumeMode.IF_POSSIBLE}
    designer.create(builder, num_records=3, **again)


if __name__ == "__main__":
    os.environ |= {"NEMO_TELEMETRY_ENABLED": "false", "DATA_DESIGNER_ASYNC_ENGINE": "1"}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["DATA_DESIGNER_HOME"] = folder
        place = Path(folder) / "d"
        if not (process := os.fork()):  # Dies at the first file after the folder was made.
            sys.addaudithook(lambda event, _: event == "open" and place.exists() and os._exit(9))
            create(folder)
        os.waitpid(process, 0)
        print(f"the folder that the dead process left: {list(place.iterdir())}")
        for times in (1, 2):
            create(folder)
            print(f"calls after {times} × create: for records {sorted(calls)}")
        print(f"folders: {sorted(path.name for path in Path(folder).glob('d*'))}")
    wrong = len(calls) > 3
    print("DEFECT: finished records are made again" if wrong else "as expected")
    sys.exit(1 if wrong else 0)
