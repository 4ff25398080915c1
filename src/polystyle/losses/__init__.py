"""How far an image is from a photo's content and a painting's style. Knows no network of ours."""
