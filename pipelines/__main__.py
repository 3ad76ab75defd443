"""`python -m pipelines` is `attend-and-prefer`, also under `accelerate launch -m pipelines`."""

import sys

from pipelines.cli import main

if __name__ == "__main__":
    sys.exit(main())
