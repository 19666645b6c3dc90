"""What if a worker cannot stay? `python -m trainer`, killed where the file that AWAY names is there.

Worker 1 alone, at its start. For `launch.run(..., module="tests.cluster.unsteady")`.
"""

import json
import os
import signal

from trainer.__main__ import main

if __name__ == "__main__":
    _task = json.loads(os.environ["TF_CONFIG"])["task"]
    if _task == {"type": "worker", "index": 1} and os.path.exists(os.environ["AWAY"]):
        os.kill(os.getpid(), signal.SIGKILL)
    main()
