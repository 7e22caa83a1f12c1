"""One thin entry per DVC stage. What is raised while `python -m stages.x` imports is reported like any other error."""

import sys

if sys.argv[:1] == ["-m"]:  # so it stands there until the module is found
    from pipeline.failures import install

    install()
