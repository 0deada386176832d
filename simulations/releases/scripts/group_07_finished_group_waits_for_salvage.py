# Clause: GROUP-07
# Releases: 0.6.0 0.6.1 0.7.0 0.8.0 0.9.0 0.9.4 0.9.6 0.9.7
# Defect: While a salvage round repeats a call of one row group, row groups that are complete are
#   neither written nor do they make room for the next ones, however long the call takes.
# Public: yes
"""Two records, each a row group. The only call for record 1 times out at once, and is repeated,
which takes two seconds. Record 0 is made meanwhile, within a third of a second: it must be written
when the repeated call ends. A crash in this time loses what was made and paid for."""

import asyncio
import os
import sys
import tempfile
from pathlib import Path

folder = tempfile.TemporaryDirectory()
os.environ.update(DATA_DESIGNER_HOME=folder.name, DATA_DESIGNER_ASYNC_ENGINE="1")
os.environ["NEMO_TELEMETRY_ENABLED"] = "false"

import data_designer.config as dd
import pandas
from data_designer.config.seed_source_dataframe import DataFrameSeedSource
from data_designer.interface.data_designer import DataDesigner

# Last, for releases in which the modules import each other in a circle.
from data_designer.engine.models.errors import ModelTimeoutError  # isort: skip

calls = [0, 0]
written = []


@dd.custom_column_generator(required_columns=["n"])
async def generate(row):
    calls[row["n"]] += 1
    if row["n"] and calls[1] == 1:
        raise ModelTimeoutError("from the script")
    await asyncio.sleep(2 if row["n"] else 0.3)
    if row["n"]:
        written.extend(Path(folder.name).rglob("batch_00000.parquet"))
    return {**row, "a": "fine"}


# No column uses a model; without any, defaults would be read from a file.
model = dd.ModelConfig(alias="none", model="none", provider="none")
builder = dd.DataDesignerConfigBuilder(model_configs=[model])
builder.with_seed_dataset(DataFrameSeedSource(df=pandas.DataFrame({"n": [0, 1]})))
builder.add_column(dd.CustomColumnConfig(name="a", generator_function=generate))
provider = dd.ModelProvider(name="none", endpoint="http://127.0.0.1:9")
designer = DataDesigner(artifact_path=folder.name, model_providers=[provider])
designer.set_run_config(dd.RunConfig(buffer_size=1))
designer.create(builder, num_records=2, dataset_name="d")
if calls[1] < 2:
    print("ABSENT: this release repeats no call of a custom column")
    sys.exit(2)
print(__doc__)
print("as expected" if written else "DEFECT: record 0 was not written for two seconds")
sys.exit(not written)
