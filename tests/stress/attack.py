"""Give polystyle hostile files and odd values: it must refuse each in one line, or paint.

    python tests/stress/attack.py --count 300

Six kinds, of which --only picks:

pickles  a pickle that would make a folder, in every place that a command loads a file from, in
         up to --count file formats
headers  loading model files and style packs whose headers lie, and --count changed at random
flags    --count command lines of polystyle-stylize
painter  --count calls of polystyle.load's painter from Python
config   --count values of polystyle-train's configuration, of a wrong type or size
lines    --count command lines of all six commands: folders with odd names, flags in any order,
         which must be understood

A command is run by its main(), in a process of its own. It must end with status 0, or with one
line and status 1 (2 for what argparse refuses); leave no mark, print no control characters, write
nothing outside its own folder, and stay under the stated memory. The painter paints finite numbers,
or raises a ValueError of one line. A file loads, or raises a ValueError whose one line begins with
its path. The table at the end counts; the exit status is 1 if anything got through.
tests/test_attacks.py runs each kind with a small --count. Linux and macOS.
"""

import argparse
import random
import sys
import tempfile
import warnings
from pathlib import Path

import torch
from attacks.calls import try_painter
from attacks.commands import Tally, import_all
from attacks.configs import try_config
from attacks.flags import try_flags
from attacks.ground import make_ground
from attacks.headers import try_headers
from attacks.lines import try_lines
from attacks.pickles import try_pickles
from tqdm import tqdm

KINDS = {
    "pickles": try_pickles,
    "headers": try_headers,
    "flags": try_flags,
    "painter": try_painter,
    "config": try_config,
    "lines": try_lines,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=100, help="random attempts of each kind (100)")
    parser.add_argument("--only", nargs="+", choices=KINDS, default=list(KINDS), metavar="KIND")
    parser.add_argument("--seed", type=int, default=0, help="of the random choices (0)")
    args = parser.parse_args()

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    import_all()
    tallies = {}
    with tempfile.TemporaryDirectory() as scratch:
        ground = Path(scratch).resolve()
        make_ground(ground / "sound")
        for kind in args.only:
            tally = tallies[kind] = Tally()
            rng = random.Random(f"{args.seed} {kind}")
            attempts = KINDS[kind](ground, tally, args.count, rng)
            for line in tqdm(attempts, desc=kind, unit="", disable=None, leave=False):
                if line:
                    tqdm.write(line)
    print(f"{'kind':8} {'tried':>6} {'survived':>9} {'violations':>11} {'peak memory':>13}  how")
    for kind, tally in tallies.items():
        tried, bad = tally.outcomes.total(), tally.outcomes.pop("violations", 0)
        how = ", ".join(f"{number} {what}" for what, number in sorted(tally.outcomes.items()))
        print(
            f"{kind:8} {tried:6} {tried - bad:9} {bad:11} {f'+{tally.megabytes:.0f} MB':>13}  {how}"
        )
    sys.exit(any(tally.violations for tally in tallies.values()))


if __name__ == "__main__":
    main()
