"""One file for each kind of change; `capture.intervention.operators` finds those that have an `OPERATOR`."""
