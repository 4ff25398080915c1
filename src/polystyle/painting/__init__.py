"""A network and a photo in, a picture out."""
