# Clause: DROP-01
# Releases: 0.6.0 0.6.1 0.7.0 0.8.0 0.9.0 0.9.4 0.9.6 0.9.7
# Defect: A cell that runs for the first time in the last salvage round, because a cell before it
#   had to be repeated, is never repeated itself: its first time-out drops the row.
# Public: yes
"""Four records. The generator of `a` times out twice for the last of them, and is right the third
time. Then the generator of `b` runs for the first time for that record, and times out once. It has
as many attempts left as any other: `create` must give all four records."""

import logging
import os
import sys
import tempfile
from collections import Counter

folder = tempfile.TemporaryDirectory()
os.environ.update(DATA_DESIGNER_HOME=folder.name, DATA_DESIGNER_ASYNC_ENGINE="1")
os.environ["NEMO_TELEMETRY_ENABLED"] = "false"

import data_designer.config as dd
import pandas
from data_designer.config.seed_source_dataframe import DataFrameSeedSource
from data_designer.interface.data_designer import DataDesigner

# Last, for releases in which the modules import each other in a circle.
from data_designer.engine.models.errors import ModelTimeoutError  # isort: skip

calls = Counter()


def column(name, needs, times):
    @dd.custom_column_generator(required_columns=needs)
    async def generate(row):
        calls[name] += row["n"] == 3
        if row["n"] == 3 and calls[name] <= times:
            raise ModelTimeoutError("from the script")
        return {**row, name: "fine"}

    return dd.CustomColumnConfig(name=name, generator_function=generate)


logging.getLogger("data_designer").setLevel(logging.CRITICAL)
# No column uses a model; without any, defaults would be read from a file.
model = dd.ModelConfig(alias="none", model="none", provider="none")
builder = dd.DataDesignerConfigBuilder(model_configs=[model])
builder.with_seed_dataset(DataFrameSeedSource(df=pandas.DataFrame({"n": range(4)})))
builder.add_column(column("a", ["n"], times=2))
builder.add_column(column("b", ["n", "a"], times=1))
provider = dd.ModelProvider(name="none", endpoint="http://127.0.0.1:9")
designer = DataDesigner(artifact_path=folder.name, model_providers=[provider])
made = designer.create(builder, num_records=4, dataset_name="d").load_dataset()
if calls["a"] == 1:
    print("ABSENT: this release repeats no call of a custom column")
    sys.exit(2)
found = sorted(made["n"].tolist())
print(f"{__doc__}\n\nrecords made: {found}; calls for the last record: {dict(calls)}")
lost = found != [0, 1, 2, 3]
print("DEFECT: a record is lost to the first time-out of `b`" if lost else "as expected")
sys.exit(lost)
