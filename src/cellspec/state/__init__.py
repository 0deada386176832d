"""What has happened in a run: the state of each cell, trackers, and checkpoints."""
