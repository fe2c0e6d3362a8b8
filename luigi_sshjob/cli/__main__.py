"""`python -m luigi_sshjob.cli`, for when the command is not on the PATH."""

import sys

from luigi_sshjob.cli.main import main

sys.exit(main())
