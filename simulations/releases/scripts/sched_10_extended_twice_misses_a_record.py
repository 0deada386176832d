# Clause: SCHED-10
# Releases: 0.6.0 0.6.1 0.7.0 0.8.0 0.9.0 0.9.4 0.9.6 0.9.7
# Defect: A dataset that is extended twice, each time by something else than whole row groups, ends
#   with records missing, and `create` returns as if it were complete.
# Public: yes
"""A dataset of 4 records in row groups of 3 is created, extended to 6 records and extended to 9,
through the public interface. No generator ever fails. In the end there must be 9 records."""

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

try:
    # Last, for releases in which the modules import each other in a circle.
    from data_designer.engine.storage.artifact_storage import ResumeMode  # isort: skip
except ImportError:
    print("ABSENT: this release resumes nothing")
    sys.exit(2)


@dd.custom_column_generator(required_columns=["n"])
def generate(row):
    return {**row, "a": "fine"}


logging.getLogger("data_designer").setLevel(logging.CRITICAL)
# No column uses a model; without any, defaults would be read from a file.
model = dd.ModelConfig(alias="none", model="none", provider="none")
provider = dd.ModelProvider(name="none", endpoint="http://127.0.0.1:9")
designer = DataDesigner(artifact_path=folder.name, model_providers=[provider])
designer.set_run_config(dd.RunConfig(buffer_size=3))
print(__doc__)
for rows in (4, 6, 9):
    builder = dd.DataDesignerConfigBuilder(model_configs=[model])
    builder.with_seed_dataset(DataFrameSeedSource(df=pandas.DataFrame({"n": range(9)})))
    builder.add_column(dd.CustomColumnConfig(name="a", generator_function=generate))
    again = {"dataset_name": "d", "resume": ResumeMode.IF_POSSIBLE}
    found = designer.create(builder, num_records=rows, **again).load_dataset()
    print(f"asked for {rows} records, have {sorted(found['n'].tolist())}")
lost = sorted(found["n"].tolist()) != list(range(9))
print("DEFECT: a record is missing, and create returned" if lost else "as expected")
sys.exit(lost)
