# Clause: SCHED-12
# Releases: 0.6.1 0.7.0 0.8.0 0.9.0 0.9.4 0.9.6 0.9.7
# Defect: `create` never returns: a task that was deferred for a rate limit is put back for a row
#   group that has been written and forgotten meanwhile, and the scheduler waits for it for ever.
# Public: yes
"""Two records, each a row group. The first call of `b` is rate limited for record 0, and times out
for record 1. Record 0 is lost to an error in `c` while record 1 is salvaged. Every call has ended
after about two seconds: `create` must return then."""

import asyncio
import os
import tempfile
import threading

folder = tempfile.TemporaryDirectory()
os.environ.update(DATA_DESIGNER_HOME=folder.name, DATA_DESIGNER_ASYNC_ENGINE="1")
os.environ["NEMO_TELEMETRY_ENABLED"] = "false"

import data_designer.config as dd
import pandas
from data_designer.config.seed_source_dataframe import DataFrameSeedSource
from data_designer.interface.data_designer import DataDesigner

# Last, for releases in which the modules import each other in a circle.
from data_designer.engine.models import errors  # isort: skip

called = set()


@dd.custom_column_generator(required_columns=["n"])
async def b(row):
    await asyncio.sleep(0.3)
    if row["n"] not in called:
        called.add(row["n"])
        raise errors.ModelTimeoutError("") if row["n"] else errors.ModelRateLimitError("")
    return {**row, "b": "fine"}


@dd.custom_column_generator(required_columns=["n"])
async def c(row):
    await asyncio.sleep(1.0 if row["n"] else 1.15)
    return {**row, "c": 1 / row["n"]}  # an error for record 0


model = dd.ModelConfig(alias="none", model="none", provider="none")
builder = dd.DataDesignerConfigBuilder(model_configs=[model])
builder.with_seed_dataset(DataFrameSeedSource(df=pandas.DataFrame({"n": [0, 1]})))
for name, function in (("b", b), ("c", c)):
    builder.add_column(dd.CustomColumnConfig(name=name, generator_function=function))
provider = dd.ModelProvider(name="none", endpoint="http://127.0.0.1:9")
designer = DataDesigner(artifact_path=folder.name, model_providers=[provider])
designer.set_run_config(dd.RunConfig(buffer_size=1, disable_early_shutdown=True))
create = threading.Thread(target=designer.create, args=(builder,), kwargs={"num_records": 2})
create.start()
create.join(25)
end = "DEFECT: create has not returned after 25 s" if create.is_alive() else "as expected"
print(f"{__doc__}\n{end}", flush=True)
folder.cleanup()
os._exit(create.is_alive())  # the thread would keep the process alive
