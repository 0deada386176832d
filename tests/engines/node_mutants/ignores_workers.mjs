// The limit on workers is not looked at.

import { Engine, serve } from "../../../examples/node/engine.mjs";

class Broken extends Engine {
  constructor(run) {
    super({ ...run, limits: { ...run.limits, workers: null } });
  }
}

serve(Broken);
