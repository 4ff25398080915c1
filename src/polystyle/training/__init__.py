"""Training with Lightning: the only package that knows it."""
