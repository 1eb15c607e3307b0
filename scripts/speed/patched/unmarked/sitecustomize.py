"""A sink that marks nothing in its ledger, as if that disk were full: after it was killed all of the
copy has to be proved, and written once more."""

from tcppipe.files.copy import Copy

Copy.mark = lambda _copy: None
