"""What if a worker keeps dying? `python -m trainer`, killed while the file that AWAY names exists.

Only worker 1 is killed, when it starts. For `launch.run(..., module="tests.cluster.unsteady")`.
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
