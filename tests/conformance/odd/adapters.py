"""The adapters of the odd engines, by a name each."""

from __future__ import annotations

__all__ = ["ADAPTERS"]

_PLACE = "tests.conformance.odd"

ADAPTERS = {
    "journal-tables-alone": f"{_PLACE}.journal:TablesAlone",
    "journal-data-then-claim": f"{_PLACE}.journal:DataThenClaim",
    "journal-one-commit": f"{_PLACE}.journal:OneCommit",
    "batch-files": f"{_PLACE}.batch_files:BatchFiles",
    "loses-a-file-and-goes-on": f"{_PLACE}.lost_file:GoesOn",
    "loses-a-file-by-tables-alone": f"{_PLACE}.lost_file:GoesOnByTablesAlone",
    "loses-a-file-and-cancels": f"{_PLACE}.lost_file:Cancels",
    "loses-a-file-and-drains": f"{_PLACE}.lost_file:Drains",
    "graceful-stop": f"{_PLACE}.graceful_stop:GracefulStop",
    "graceful-cancels": f"{_PLACE}.graceful_stop:GracefulCancels",
    "lost-worker": f"{_PLACE}.lost_worker:LostWorker",
    "saves-by-group": f"{_PLACE}.saves_seldom:SavesByGroup",
    "saves-by-seconds": f"{_PLACE}.saves_seldom:SavesBySeconds",
    "pauses-on-429": f"{_PLACE}.pauses_on_429:PausesOn429",
}
