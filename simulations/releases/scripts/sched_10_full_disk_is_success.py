# Clause: SCHED-10
# Releases: 0.5.4 0.5.5 0.5.7 0.5.9 0.6.0 0.6.1 0.7.0 0.8.0 0.9.0 0.9.4 0.9.6 0.9.7
# Defect: If a row group cannot be written (no space is left on the device), `create` returns
#   normally, with the records of that group missing.
# Public: yes
"""4 records in row groups of 2. Writing the first group fails as on a full disk: the data frame's
`to_parquet` raises OSError. No record was made wrongly, so `create` must either have 4 records in
the end, or raise."""

import logging
import os
import sys
import tempfile

folder = tempfile.TemporaryDirectory()
os.environ.update(DATA_DESIGNER_HOME=folder.name, DATA_DESIGNER_ASYNC_ENGINE="1")
os.environ["NEMO_TELEMETRY_ENABLED"] = "false"

import data_designer.config as dd
import pandas
from data_designer.config.seed_source_dataframe import DataFrameSeedSource
from data_designer.interface.data_designer import DataDesigner


@dd.custom_column_generator(required_columns=["n"])
async def generate(row):
    return {**row, "a": "fine"}


def full(frame, path, *args, **more):
    if "batch_00000" in str(path):
        raise OSError(28, "No space left on device")
    return write(frame, path, *args, **more)


logging.getLogger("data_designer").setLevel(logging.CRITICAL)
# No column uses a model; without any, defaults would be read from a file.
model = dd.ModelConfig(alias="none", model="none", provider="none")
builder = dd.DataDesignerConfigBuilder(model_configs=[model])
builder.with_seed_dataset(DataFrameSeedSource(df=pandas.DataFrame({"n": range(4)})))
builder.add_column(dd.CustomColumnConfig(name="a", generator_function=generate))
provider = dd.ModelProvider(name="none", endpoint="http://127.0.0.1:9")
designer = DataDesigner(artifact_path=folder.name, model_providers=[provider])
designer.set_run_config(dd.RunConfig(buffer_size=2))
write, pandas.DataFrame.to_parquet = pandas.DataFrame.to_parquet, full
print(__doc__)
try:
    made = designer.create(builder, num_records=4, dataset_name="d")
except Exception as error:
    print(f"as expected, create raises: {type(error).__name__}: {str(error)[:200]}")
    sys.exit(0)
found = sorted(made.load_dataset()["n"].tolist())
print(f"create returned; records: {found}")
lost = found != [0, 1, 2, 3]
print("DEFECT: records are missing, and create returned" if lost else "as expected")
sys.exit(lost)
