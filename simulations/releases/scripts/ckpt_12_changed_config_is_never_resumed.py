# Clause: CKPT-12
# Releases: 0.6.0 0.6.1 0.7.0 0.8.0 0.9.0 0.9.4 0.9.6 0.9.7
# Defect: After a change of the config IF_POSSIBLE begins anew in a folder of its own, as it says;
#   but it never looks there again: each `create` of the new config makes all records anew.
# Public: yes
# Needs: 0.6.0, which resumes a dataset
"""`create` with IF_POSSIBLE makes 3 records. Then the config changes, and `create` makes 3 records
of the new one beside them. Called once more with the same config, it has nothing to do. But it
compares the new config with the old folder only, and makes all of them again."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

calls: list[str] = []


def create(folder: str, name: str) -> None:
    import data_designer.config as dd
    import pandas
    from data_designer.config.seed_source_dataframe import DataFrameSeedSource
    from data_designer.interface.data_designer import DataDesigner
    from data_designer.engine.storage.artifact_storage import ResumeMode  # isort: skip

    @dd.custom_column_generator(required_columns=["n"])
    async def generate(row: dict[str, Any]) -> dict[str, Any]:
        calls.append(f"{name}[{row['n']}]")
        return {**row, name: "fine"}

    model = dd.ModelConfig(alias="none", model="none", provider="none")
    builder = dd.DataDesignerConfigBuilder(model_configs=[model])
    builder.with_seed_dataset(DataFrameSeedSource(df=pandas.DataFrame({"n": range(3)})))
    builder.add_column(dd.CustomColumnConfig(name=name, generator_function=generate))
    provider = dd.ModelProvider(name="none", endpoint="http://127.0.0.1:9")
    designer = DataDesigner(artifact_path=folder, model_providers=[provider])
    again = {"dataset_name": "d", "resume": ResumeMode.IF_POSSIBLE}
    designer.create(builder, num_records=3, **again)


if __name__ == "__main__":
    os.environ |= {"NEMO_TELEMETRY_ENABLED": "false", "DATA_DESIGNER_ASYNC_ENGINE": "1"}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["DATA_DESIGNER_HOME"] = folder
        for name in ("a", "b", "b"):
            calls.clear()
            create(folder, name)
            print(f"create with column {name}: calls {sorted(calls)}")
        print(f"folders: {sorted(path.name for path in Path(folder).glob('d*'))}")
    print("DEFECT: finished records are made again" if calls else "as expected")
    sys.exit(1 if calls else 0)
