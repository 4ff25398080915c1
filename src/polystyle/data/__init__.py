"""Photos and paintings in, batches out. Knows no network, no loss, no trainer of ours."""
