"""My engine under the conformance suite of cellspec."""

from my_engine import Column, Engine, read

from cellspec.conformance import BackPressure, Probe, Retryable, Table


class Watched(Engine):
    """The engine, and the probe is told what no call shows."""

    again, busy = Retryable, BackPressure

    def drop(self, row, cause):
        self.probe.drop(row, row + 1, cause)
        super().drop(row, cause)

    def append(self, row, record):
        self.probe.commit_begin(record.get("column", ""), row, row + 1)
        super().append(row, record)
        self.probe.committed()

    def sync(self, file):
        self.probe.storage_step("sync the journal")
        super().sync(file)


def claim(engine):
    """By column, the rows that a restart would find."""
    rows, dropped = read(engine.folder)
    names = [column.name for column in engine.columns]
    return {name: {row for row in rows if name in rows[row]} | set(dropped) for name in names}


def column(probe, rule):
    async def make(rows, inputs):
        if rule.is_barrier:
            return await probe.barrier(rule.name, 0, rows, inputs)
        return [await probe.cell(rule.name, rows[0], inputs[0])]

    needs = [probe.graph.rules.columns[need].name for need in rule.needs]
    resource = probe.work.limits.column_resource.get(rule.name, "")
    return Column(rule.name, needs, make, rule.is_barrier, resource)


class MyBackend:
    name = "my-engine"
    version = "2"
    capabilities = frozenset(
        {"core", "work_conserving", "retries", "drops", "resume"}
        | {"set_claims", "commits", "storage_steps"}
    )

    async def run(self, probe: Probe) -> None:
        work, limits = probe.work, probe.work.limits
        columns = [column(probe, rule) for rule in probe.graph.rules.columns]
        slots = {"": 1000, "workers": limits.workers or 1000, **limits.resources}
        engine = Watched(columns, probe.rows, slots, probe.folder)
        engine.probe, engine.attempts = probe, work.failures.max_attempts
        if probe.incarnation:
            probe.resumed(claim(engine), dropped=engine.dropped)
        await engine.run()
        probe.end("success")

    def table(self, probe: Probe) -> Table:
        rows, dropped = read(probe.folder)
        names = {rule.name for rule in probe.graph.rules.columns}
        whole = {row: rows[row] for row in rows if rows[row].keys() == names}
        return Table(whole, frozenset(dropped))
