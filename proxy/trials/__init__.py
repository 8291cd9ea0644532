"""Policy tests (`policies.trials`) run: without a server by `offline`, with one by `live`."""
