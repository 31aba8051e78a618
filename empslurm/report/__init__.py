"""From gathered rows to the paper's tables and figures, and one page."""
