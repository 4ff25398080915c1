"""Losses: VGG-16, Gram matrices, the perceptual loss. Imports no network of polystyle."""
