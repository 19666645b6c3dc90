"""What if a worker keeps dying? `python -m trainer`, killed while the file that AWAY names exists.

Only worker 1 of three is killed, when it starts. For `launch.run(..., module="tests.cluster.unsteady")`.
"""

import json
import os
import signal

from trainer.__main__ import main

if __name__ == "__main__":
    _found = json.loads(os.environ["TF_CONFIG"])
    _is_second = _found["task"] == {"type": "worker", "index": 1}
    _is_complete = len(_found["cluster"]["worker"]) == 3
    if _is_second and _is_complete and os.path.exists(os.environ["AWAY"]):
        os.kill(os.getpid(), signal.SIGKILL)
    main()
