"""How well a network paints its styles, in numbers and side by side."""
