"""One file for each method or kind of change, found by discovery.

`steering.method.methods` finds those that have a `METHOD`, `capture.intervention.operators` those with an `OPERATOR`.
"""
