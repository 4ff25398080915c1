"""Photos and paintings in, batches out. Imports no network, no loss, no training."""
