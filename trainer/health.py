"""Is this task making progress? `python -m trainer.health SECONDS` answers probes of containers.

Manifests name this module, so it stays where it is; the answer is in `process/health.py`.
"""

import sys

from trainer.process.health import main

if __name__ == "__main__":
    sys.exit(main())
