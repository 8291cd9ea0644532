"""What is sensitive, who may see what, and the masks. Pure: no sockets, no SQL parsing.

policy = load_policy([Path("policy.yaml")])               # DocumentError says file, line, key
classification = classify(policy, catalog.relations)      # which columns of this database are sensitive
profile = compile_profile(policy, classification, catalog.relations, context)
"""

from policies.check import Problem, problems
from policies.decide import Step, compile_profile, explain
from policies.dictionary import Classification, Classified, classify
from policies.document import DocumentError
from policies.language import Policy
from policies.load import PolicyError, load_policy
from policies.matching import Context

__all__ = [
    "Classification",
    "Classified",
    "Context",
    "DocumentError",
    "Policy",
    "PolicyError",
    "Problem",
    "Step",
    "classify",
    "compile_profile",
    "explain",
    "load_policy",
    "problems",
]
