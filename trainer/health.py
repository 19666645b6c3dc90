"""Is this task making progress? `python -m trainer.health SECONDS` answers the probes of containers.

Docker and Kubernetes files name this module, so its name does not change. `process/health.py` does the
work.
"""

import sys

from trainer.process.health import main

if __name__ == "__main__":
    sys.exit(main())
