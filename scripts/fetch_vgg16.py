"""Put VGG-16's weights (30.5 MB) into torch's hub cache, from whichever source answers.

The first training run does the same. Run this where there is a network, and training works without.
"""

import argparse
import logging
import sys

from polystyle.losses.vgg_weights import find_weights, read_weights


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    try:
        path = find_weights()
        weights = read_weights(path)
    except (ValueError, OSError) as error:
        sys.exit(f"fetch_vgg16: {error}")
    count = sum(tensor.numel() for tensor in weights.values())
    print(f"VGG-16's weights are at {path}: {count:,} numbers, checked.")
    print("Next: polystyle-train data.content_dir=PHOTOS data.style_dir=PAINTINGS")


if __name__ == "__main__":
    main()
