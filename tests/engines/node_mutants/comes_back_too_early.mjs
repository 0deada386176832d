// A call that was turned away is made again at once, and not when it was told to come back.

import { Engine, serve } from "../../../examples/node/engine.mjs";

class Broken extends Engine {
  fail(line) {
    super.fail({ ...line, retry_after: 0 });
  }
}

serve(Broken);
