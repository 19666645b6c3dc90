"""How does a whole cluster run on one machine? One process starts, watches and restarts all its tasks."""
