"""Sorts the stacks of `perf script` by the step of a request that they belong to.

A sample counts for the first step that its stack names, from the inside of the request's path outwards.
"""

import re
import sys
from collections import Counter

STEPS = [
    ("identity: signature", r"identity::signature"),
    ("identity: the rest", r"identity::"),
    ("pdp: Cedar's authorizer", r"Authorizer|cedar_policy_core::evaluator::Evaluator"),
    ("pdp: context", r"pdp::question|Context::from_pairs|RestrictedExpression"),
    ("pdp: slice and entities", r"pdp::slice|pdp::encode|Entities"),
    ("pdp: the rest", r"pdp::"),
    ("resolve", r"registry::|broker::resolve"),
    ("record: entry", r"broker::record|model::entry"),
    ("audit: publisher", r"audit::publish"),
    ("audit: writer", r"audit::|tlog::"),
    ("audit: SQLite", r"sqlite"),
    ("forward and its client", r"broker::forward|broker::upstream|hyper_util::client|hyper::client"),
    ("shape", r"broker::shape"),
    ("broker: the rest", r"broker::"),
    ("HTTP server", r"hyper"),
    ("runtime", r"tokio::"),
]


def stacks(lines):
    stack = []
    for line in lines:
        if line.strip():
            stack.append(line.rstrip())
        elif stack:
            yield "\n".join(stack[1:])
            stack = []
    if stack:
        yield "\n".join(stack[1:])


def step(stack):
    return next((name for name, pattern in STEPS if re.search(pattern, stack)), "not told apart")


counts = Counter(step(stack) for stack in stacks(sys.stdin))
total = sum(counts.values()) or sys.exit("no samples: did perf record anything?")
print(f"{total} samples")
for name, count in counts.most_common():
    print(f"{100 * count / total:5.1f} %  {name}")
