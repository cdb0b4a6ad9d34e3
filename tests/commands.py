"""Reading what commands print."""

import re


def reported(out, name):
    """The first number on the line `name` of a report."""
    return float(re.search(rf"^{re.escape(name)} +([-\d.e+]+)", out, re.MULTILINE)[1])
