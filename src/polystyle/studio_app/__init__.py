"""The page of polystyle-studio, and what is behind it."""
