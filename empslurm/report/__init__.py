"""From gathered rows to the paper's tables and figures, and one page.

Here belongs which analyses are run on a group (`analyses`), the tables and figures that show them, and the page, whose
sections are in `sections`. Arithmetic on arrays is `analysis`; reading results is `gather`.
"""
