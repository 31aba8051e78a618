"""`python -m docs.pages`."""

import sys

from docs.pages import main

sys.exit(main())
