"""How well a network paints its styles: losses, a comparison of two networks, pictures."""
