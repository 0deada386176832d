"""A small engine that hangs, and its adapter: `cellspec conformance examples.hangs:Backend`."""

import asyncio
import json

from cellspec.conformance import Table


class Column:
    """A column; `make` gives the values of some rows from their inputs."""

    def __init__(self, name, needs, is_barrier, make):
        self.name, self.needs, self.is_barrier, self.make = name, needs, is_barrier, make


class Engine:
    """Fills a table: one task for each cell, and one for each barrier."""

    def __init__(self, columns, rows, workers):
        self.columns, self.rows = columns, list(range(rows))
        self.workers = asyncio.Semaphore(workers)
        new = asyncio.get_running_loop().create_future
        self.cells = {(column.name, row): new() for column in columns for row in self.rows}

    async def run(self):
        async with asyncio.TaskGroup() as tasks:
            for column in self.columns:
                for rows in [self.rows] if column.is_barrier else [[row] for row in self.rows]:
                    tasks.create_task(self.fill(column, rows))
        return [
            {column.name: self.cells[column.name, row].result() for column in self.columns}
            for row in self.rows
        ]

    async def fill(self, column, rows):
        async with self.workers:
            inputs = [await self.inputs(column, row) for row in rows]
            values = await column.make(rows, inputs)
        for row, value in zip(rows, values, strict=True):
            self.cells[column.name, row].set_result(value)

    async def inputs(self, column, row):
        for name in column.needs:
            await self.cells[name, row]
        return {name: self.cells[name, row].result() for name in column.needs}


class Backend:
    """The adapter: the suite's generators become the columns of the engine."""

    name, version, capabilities = "hangs", "1", frozenset({"core"})

    async def run(self, probe):
        limits = probe.work.limits
        workers = min([limits.workers or 1000, *limits.resources.values()])
        columns = [self.column(probe, rule) for rule in probe.graph.rules.columns]
        rows = await Engine(columns, probe.rows, workers).run()
        (probe.folder / "table.json").write_text(json.dumps(rows))
        probe.end("success")

    def column(self, probe, rule):
        async def make(rows, inputs):
            if rule.is_barrier:
                return await probe.barrier(rule.name, 0, rows, inputs)
            return [await probe.cell(rule.name, rows[0], inputs[0])]

        needs = [probe.graph.rules.columns[need].name for need in rule.needs]
        return Column(rule.name, needs, rule.is_barrier, make)

    def table(self, probe):
        return Table(dict(enumerate(json.loads((probe.folder / "table.json").read_text()))))
