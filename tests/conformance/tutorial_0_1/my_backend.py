"""My engine under the conformance suite of cellspec."""

from my_engine import Column, Engine, read

from cellspec.conformance import BackPressure, Probe, Retryable, Table


class Watched(Engine):
    """The engine, and the probe is told what no call shows."""

    again, busy = Retryable, BackPressure

    def drop(self, row, cause):
        self.probe.drop(row, row + 1, cause)
        super().drop(row, cause)

    def save_rows(self, start, stop):
        super().save_rows(start, stop)
        self.probe.durable("", start, stop)

    def save_claim(self, rows):
        self.probe.checkpoint_begin(rows)
        super().save_claim(rows)
        self.probe.checkpoint_durable()


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
    version = "1"
    capabilities = frozenset({"core", "work_conserving", "retries", "drops", "resume"})

    async def run(self, probe: Probe) -> None:
        work, limits = probe.work, probe.work.limits
        columns = [column(probe, rule) for rule in probe.graph.rules.columns]
        slots = {"": 1000, "workers": limits.workers or 1000, **limits.resources}
        engine = Watched(columns, probe.rows, slots, probe.folder)
        engine.probe, engine.attempts = probe, work.failures.max_attempts
        engine.every = work.checkpoint_every_rows
        if probe.life:
            probe.resumed(engine.claimed, dropped=engine.dropped)
        await engine.run()
        probe.end("success")

    def table(self, probe: Probe) -> Table:
        rows, dropped = read(probe.folder)
        return Table(rows, frozenset(dropped))
