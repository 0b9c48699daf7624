"""A checker for linearizability (Wing and Gong, 1993), with models of the operations of a store.

A history is correct if each operation can be placed at one moment between its call and its return, so that a
sequential model gives the same results. An operation without an answer may have happened at any later time,
or never.
"""

import math

UNKNOWN = "unknown"


def is_linearizable(history, model, state):
    """Say whether a history has an order that the model agrees with.

    Args:
        history: tuples (start, end, operation, result). The result UNKNOWN stands for no answer.
        model: a function (state, operation) that returns (state, result).
        state: the state at the start; any hashable value.
    """
    calls = sorted(
        (start, math.inf if result == UNKNOWN else end, operation, result)
        for start, end, operation, result in history
    )
    todo = [(frozenset(range(len(calls))), state)]
    seen = set(todo)
    while todo:
        waiting, state = todo.pop()
        limit = min((calls[n][1] for n in waiting), default=math.inf)
        if limit == math.inf:
            return True
        for n in waiting:
            start, _, operation, result = calls[n]
            if start > limit:
                continue
            following, answer = model(state, operation)
            step = (waiting - {n}, following)
            if result in (UNKNOWN, answer) and step not in seen:
                seen.add(step)
                todo.append(step)
    return False


def value_model(state, operation):
    name, *args = operation
    if name == "get":
        return state, state
    if name == "delete":
        return None, int(state is not None)
    value, only_if = args
    if (only_if == "absent" and state is not None) or (only_if == "present" and state is None):
        return state, False
    return value, True


def rate_model(state, operation):
    _, burst, cost = operation
    if state + cost > burst:
        return state, [False, burst - state]
    return state + cost, [True, burst - state - cost]


def lease_model(state, operation):
    name, owner = operation
    if name == "acquire":
        return (state or owner), state in (None, owner)
    return (None if state == owner else state), state == owner


def record_model(state, operation):
    """The state is None or a sorted tuple of fields. All records are in one group."""
    name, *args = operation
    if name == "create":
        return tuple(sorted(args[0].items())), None
    if name == "read":
        return state, None if state is None else [list(field) for field in state]
    if name == "members":
        return state, ["record"] if state is not None else []
    if name == "delete":
        return None, int(state is not None)
    if state is None:
        return None, False
    fields = {key: value for key, value in {**dict(state), **args[0]}.items() if value is not None}
    return tuple(sorted(fields.items())), True


MODELS = {
    "value": (value_model, None),
    "rate": (rate_model, 0),
    "lease": (lease_model, None),
    "record": (record_model, None),
}
