"""`python -m luigi_sshjob`, for when `luigi-sshjob` is not on the PATH."""

import sys

from luigi_sshjob.cli.main import main

sys.exit(main())
