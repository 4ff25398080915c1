"""One network, N paintings: multi-style transfer by conditional instance normalization."""
