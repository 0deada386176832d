// From the second claim on, a claim on rows is begun before the rows are safe.

import { Engine, Store, say, serve } from "../../../examples/node/engine.mjs";

class Hasty extends Store {
  save(records, columns) {
    const rows = this.rows + records.length;
    if (this.rows > 0) say("checkpoint_begin", { claim: this.claimOf(rows, columns) });
    super.save(records, columns);
  }
}

class Broken extends Engine {
  constructor(run) {
    super(run);
    Object.setPrototypeOf(this.store, Hasty.prototype);
  }
}

serve(Broken);
