"""The text of drivers: loops written out around the leaves, the same for the compiler and for plain Python."""

from __future__ import annotations

from collections.abc import Sequence

from trader.core.indicators.definition import Definition

GENERATOR_VERSION = 2

UPDATE_HEAD = 3
"""Count, window length and memory length lie before the parameters in the arena of a single live step."""

# columns of a row of the live table
KIND, STATE, MEMORY, MEMORY_LENGTH, RING, RING_LENGTH, WINDOW, PARAMETERS, OUTPUT, INPUTS = range(10)
MOST_INPUTS = 4
TABLE_WIDTH = INPUTS + MOST_INPUTS


def leaf_name(index: int) -> str:
    """The name under which a driver's module holds its leaf."""
    return f"leaf_{index}"


def batch_source(step: Definition) -> str:
    """`batch(begin, end, lead, w_in, n, state, memory, x…, p…, o…)`: bars begin to end, state carried in an array.

    The window of bar i is `w_in[i + lead : i + lead + n]`: of the padded start, or of the input itself.
    """
    scalars = [f"x_{name}" for name in step.scalars]
    parameters = [f"p_{name}" for name, _ in step.parameters]
    outputs = [f"o{index}" for index in range(len(step.outputs))]
    arguments = ["begin", "end", "lead", "w_in", "n", "state", "memory", *scalars, *parameters, *outputs]
    call = _call(
        0,
        _state_names(step, ""),
        [*(f"{x}[i]" for x in scalars), *_lent(step, "w_in[i + lead : i + lead + n]", "memory"), *parameters],
    )
    lines = [f"def batch({', '.join(arguments)}):"]
    lines += [f"    {name} = {_read(step, index, f'state[{index}]')}" for index, name in _numbered(step, "")]
    lines += ["    for i in range(begin, end):"]
    lines += [f"        {_targets(step, '')} = {call}"]
    lines += [f"        {output}[i] = v{index}" for index, output in enumerate(outputs)]
    lines += [f"    state[{index}] = {name}" for index, name in _numbered(step, "")]
    return "\n".join([*lines, "    return", ""])


def update_source(step: Definition) -> str:
    """`update(arena, x…)`: one value of each input, live; returns the output, or a tuple of them.

    The arena holds count, window length, memory length, parameters, state, memory and ring, in this
    order: one array, because unpacking arguments is most of what such a call costs.
    """
    bound = len(step.parameters)
    first_state = UPDATE_HEAD + bound
    first_memory = first_state + len(step.state)
    lines = [f"def update({', '.join(['arena', *(f'x_{name}' for name in step.inputs)])}):"]
    if step.window:
        lines += [
            "    count, n = int(arena[0]), int(arena[1])",
            f"    at = {first_memory} + int(arena[2]) + count % n",
            f"    arena[at] = x_{step.window[0]}",
            f"    arena[at + n] = x_{step.window[0]}",
        ]
    states = [_read(step, index, f"arena[{first_state + index}]") for index in range(len(step.state))]
    taken = [f"x_{name}" for name in step.scalars]
    lent = _lent(step, "arena[at + 1 : at + 1 + n]", f"arena[{first_memory} : {first_memory} + int(arena[2])]")
    parameters = [_cast(kind, f"arena[{UPDATE_HEAD + at}]") for at, (_, kind) in enumerate(step.parameters)]
    lines += [f"    {_targets(step, '')} = {_call(0, states, [*taken, *lent, *parameters])}"]
    lines += [f"    arena[{first_state + index}] = {name}" for index, name in _numbered(step, "")]
    lines += ["    arena[0] += 1.0"]
    return "\n".join([*lines, f"    return {', '.join(f'v{index}' for index in range(len(step.outputs)))}", ""])


def machine_source(kinds: Sequence[Definition]) -> str:
    """`run(rows, arena, table, rings, parameters, values, out, first_output)`: the live table over rows.

    One compiled function for a set of kinds of steps; which instances there are, over what and with
    which parameters, is in the table. `arena[0]` counts rows; `rings[v]` is the place and length of
    value v's history, length 0 without one.
    """
    lines = [
        "def run(rows, arena, table, rings, parameters, values, out, first_output):",
        "    for i in range(rows.shape[0]):",
        "        count = int(arena[0])",
        "        for column in range(rows.shape[1]):",
        "            values[column] = rows[i, column]",
        "            push(arena, rings, values, column, count)",
        "        for j in range(table.shape[0]):",
        f"            kind = table[j, {KIND}]",
        f"            s = table[j, {STATE}]",
        f"            p = table[j, {PARAMETERS}]",
        f"            o = table[j, {OUTPUT}]",
    ]
    for index, step in enumerate(kinds):
        lines += [f"            {'if' if index == 0 else 'elif'} kind == {index}:"]
        lines += [f"                {line}" for line in _machine_branch(index, step)]
    lines += [
        "        for k in range(out.shape[1]):",
        "            out[i, k] = values[first_output[k]]",
        "        arena[0] = count + 1",
        "    return",
        "",
    ]
    return "\n".join(lines)


def _machine_branch(index: int, step: Definition) -> list[str]:
    mark = f"k{index}_"
    lines = []
    if step.window:
        # the ring may be longer than this window: others share it
        lines += [
            f"{mark}r = table[j, {RING}] + count % table[j, {RING_LENGTH}] + table[j, {RING_LENGTH}] + 1",
            f"{mark}w = arena[{mark}r - table[j, {WINDOW}] : {mark}r]",
        ]
    if step.memory:
        lines += [f"{mark}m = arena[table[j, {MEMORY}] : table[j, {MEMORY}] + table[j, {MEMORY_LENGTH}]]"]
    taken = [f"values[table[j, {INPUTS + step.inputs.index(name)}]]" for name in step.scalars]
    bound = [_cast(kind, f"parameters[p + {at}]") for at, (_, kind) in enumerate(step.parameters)]
    states = [_read(step, at, f"arena[s + {at}]") for at in range(len(step.state))]
    call = _call(index, states, [*taken, *_lent(step, f"{mark}w", f"{mark}m"), *bound])
    lines += [f"{_targets(step, mark)} = {call}"]
    lines += [f"arena[s + {at}] = {name}" for at, name in _numbered(step, mark)]
    for at in range(len(step.outputs)):
        lines += [f"values[o + {at}] = {mark}v{at}", f"push(arena, rings, values, o + {at}, count)"]
    return lines


def _call(index: int, states: Sequence[str], arguments: Sequence[str]) -> str:
    state = f"({', '.join(states)},)" if states else "()"
    return f"{leaf_name(index)}({', '.join([state, *arguments])})"


def _targets(step: Definition, mark: str) -> str:
    names = _state_names(step, mark)
    state = f"({', '.join(names)},)" if names else "_"
    values = [f"{mark}v{index}" for index in range(len(step.outputs))]
    return f"{state}, {values[0] if len(values) == 1 else '(' + ', '.join(values) + ')'}"


def _state_names(step: Definition, mark: str) -> list[str]:
    return [f"{mark}s{index}" for index in range(len(step.state))]


def _numbered(step: Definition, mark: str) -> list[tuple[int, str]]:
    return list(enumerate(_state_names(step, mark)))


def _lent(step: Definition, window: str, memory: str) -> list[str]:
    return [*([window] if step.window else []), *([memory] if step.memory else [])]


def _read(step: Definition, index: int, text: str) -> str:
    return f"int({text})" if isinstance(step.state[index], int) else text


def _cast(kind: str, text: str) -> str:
    return f"int({text})" if kind == "int" else text
