"""Finding sensitive columns by name, type and values. Pure: values come in as text, counts and reasons go out.

examined = examine(Subject("bank", "customers", "phone", "text"), ["13812345678", …], datetime.date.today())
examined.finding                                        # kind, confidence, reason; or None
"""

from policies.detect.column import Examined, examine
from policies.detect.combine import PROPOSE, REVIEW, Finding, Subject, detect
from policies.detect.kinds import KINDS, Kind
from policies.detect.summary import Summary, summarise
from policies.detect.table import examine_table

__all__ = [
    "KINDS",
    "PROPOSE",
    "REVIEW",
    "Examined",
    "Finding",
    "Kind",
    "Subject",
    "Summary",
    "detect",
    "examine",
    "examine_table",
    "summarise",
]
