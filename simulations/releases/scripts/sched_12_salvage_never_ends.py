# Clause: SCHED-12
# Releases: 0.6.1 0.7.0 0.8.0 0.9.0 0.9.4 0.9.6 0.9.7
# Defect: `create` never returns: a task that was deferred for a rate limit is put back for a row
#   group that has been written and forgotten meanwhile, and the scheduler waits for it for ever.
# Public: yes
"""Two records, each a row group of its own. The first call of `b` is answered with a rate limit for
record 0, and times out for record 1. Record 0 is lost to an error in `c` while record 1 is being
salvaged. Every call has ended after about two seconds. `create` must return: with record 1, or with
an error."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import tempfile
import threading
from collections import Counter
from typing import Any

WAIT_S = 12.0


def create(folder: str, calls: Counter[int]) -> list[int]:
    """Create the dataset through the public interface; the records that it has in the end."""
    import data_designer.config as dd
    import pandas
    from data_designer.config.seed_source_dataframe import DataFrameSeedSource
    from data_designer.interface.data_designer import DataDesigner

    # Last, for releases in which the modules import each other in a circle.
    from data_designer.engine.models.errors import (  # isort: skip
        ModelRateLimitError,
        ModelTimeoutError,
    )

    @dd.custom_column_generator(required_columns=["n"])
    async def make_b(row: dict[str, Any]) -> dict[str, Any]:
        calls[row["n"]] += 1
        await asyncio.sleep(0.3)
        if calls[row["n"]] == 1:
            raise (ModelTimeoutError if row["n"] else ModelRateLimitError)("from the script")
        return {**row, "b": "fine"}

    @dd.custom_column_generator(required_columns=["n"])
    async def make_c(row: dict[str, Any]) -> dict[str, Any]:
        await asyncio.sleep(1.0 if row["n"] else 1.15)
        if not row["n"]:
            raise ValueError("record 0 cannot be made")
        return {**row, "c": "fine"}

    logging.getLogger("data_designer").setLevel(logging.CRITICAL)
    model = dd.ModelConfig(alias="none", model="none", provider="none")
    builder = dd.DataDesignerConfigBuilder(model_configs=[model])
    builder.with_seed_dataset(DataFrameSeedSource(df=pandas.DataFrame({"n": [0, 1]})))
    for name, function in (("b", make_b), ("c", make_c)):
        builder.add_column(dd.CustomColumnConfig(name=name, generator_function=function))
    provider = dd.ModelProvider(name="none", endpoint="http://127.0.0.1:9")
    designer = DataDesigner(artifact_path=folder, model_providers=[provider])
    options = {
        "buffer_size": 1,
        "max_concurrent_row_groups": 2,
        "disable_early_shutdown": True,
        "otel_metrics_port": None,
    }
    known = dd.RunConfig.model_fields
    chosen = {name: value for name, value in options.items() if name in known}
    designer.set_run_config(dd.RunConfig(**chosen))
    made = designer.create(builder, num_records=2, dataset_name="d")
    return sorted(made.load_dataset()["n"].tolist())


def main() -> int:
    os.environ.setdefault("NEMO_TELEMETRY_ENABLED", "false")
    print(__doc__)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["DATA_DESIGNER_HOME"] = folder
        os.environ.setdefault("DATA_DESIGNER_ASYNC_ENGINE", "1")
        ended: list[str] = []
        calls: Counter[int] = Counter()

        def run() -> None:
            try:
                ended.append(f"records: {create(folder, calls)}")
            except Exception as error:
                ended.append(f"{type(error).__name__}: {str(error)[:200]}")

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        thread.join(WAIT_S)
    if not ended:
        print(f"DEFECT: create has not returned after {WAIT_S:g} s")
        sys.stdout.flush()
        os._exit(1)
    print(f"as expected, create came to an end: {ended[0]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
