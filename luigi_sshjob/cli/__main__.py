"""`python -m luigi_sshjob.cli`, where the command itself is not on the PATH."""

import sys

from luigi_sshjob.cli.main import main

sys.exit(main())
