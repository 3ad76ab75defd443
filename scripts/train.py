"""What `accelerate launch` starts: the verb `train`, from a clone.

    accelerate launch --config_file configs/accelerate/multi_gpu.yaml scripts/train.py --config configs/default.yaml

Takes the verb's own options; where the package is installed, `accelerate launch -m pipelines train` is the same.
"""

from __future__ import annotations

import sys

from pipelines.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
