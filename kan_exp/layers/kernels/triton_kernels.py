"""Sums of splines and their gradients on a GPU, in Triton; `triton_sum.py` starts them.

Arrays are contiguous, and all but the polynomials have a leading axis of replicas:

    x            (batch, inputs)
    table        (inputs, rows, outputs)      coefficients
    first        (inputs,)                    the first knot of each input
    spacing      (inputs,)                    the distance of two knots
    polynomials  (F, 2 * F)                   as those of `Grid`
    total, grad  (batch, outputs)             the sums, and the gradient with respect to them

F basis functions are not zero on a cell. Sums are taken in float32, or in float64 if `x` is of that
type, in an order that depends on the sizes alone: there are no atomic additions.
"""

import triton
import triton.language as tl


@triton.jit
def _real(number):
    """Numbers in the type in which they are added up."""
    return number if number.dtype == tl.float64 else number.to(tl.float32)


@triton.jit
def _locate(x, first, spacing, cells):
    """The cells of samples, their places there, held to 0 to 1, and how far they are beyond."""
    gone = x - first
    # In float32 `/` rounds samples that lie on knots to either side.
    position = gone / spacing if gone.dtype == tl.float64 else tl.div_rn(gone, spacing)
    last = cells - 1
    # A NaN, for which no comparison holds, is in the first cell and comes out as NaN.
    low = tl.where(position > 0, position, 0.0)
    low = tl.where(low < last, low, last)
    # Once more in whole numbers: `last` is rounded where there are millions of cells.
    cell = tl.minimum(low.to(tl.int32), last)
    place = position - cell
    inside = tl.where(place < 0, 0.0, tl.where(place > 1, 1.0, place))
    return cell, inside, place - inside


@triton.jit
def _polynomial(place, K: tl.constexpr, F: tl.constexpr, POLYNOMIALS: tl.constexpr):
    """The basis function K, or from F on a derivative."""
    value = 0 * place + POLYNOMIALS[(F - 1) * 2 * F + K]
    for power in tl.static_range(F - 1):
        value = value * place + POLYNOMIALS[(F - 2 - power) * 2 * F + K]
    return value


@triton.jit
def _scale(F: tl.constexpr):
    """The factor by which the polynomials are multiplied."""
    scale = 1.0
    for degree in tl.static_range(2, F):
        scale *= degree
    return scale


@triton.jit
def forward(
    x,
    table,
    first,
    spacing,
    total,
    batch,
    inputs,
    rows,
    outputs,
    F: tl.constexpr,
    SAMPLES: tl.constexpr,
    OUTPUTS: tl.constexpr,
    POLYNOMIALS: tl.constexpr,
):
    """Sums of a block of samples and of outputs.

    Cells and weights of one input after the other are in registers; the rows that they choose are
    read from the cache.
    """
    blocks = tl.cdiv(batch, SAMPLES)
    replica = (tl.program_id(0) // blocks).to(tl.int64)
    sample = tl.program_id(0) % blocks * SAMPLES + tl.arange(0, SAMPLES)
    output = tl.program_id(1) * OUTPUTS + tl.arange(0, OUTPUTS)
    known, wanted = sample < batch, (output < outputs)[None, :]
    place_of = replica * batch + sample
    table += replica * inputs * rows * outputs + output[None, :]
    sums = tl.zeros((SAMPLES, OUTPUTS), _real(tl.load(spacing)).dtype)
    for i in range(inputs):
        number = _real(tl.load(x + place_of * inputs + i, mask=known, other=0.0))
        start = _real(tl.load(first + replica * inputs + i))
        width = _real(tl.load(spacing + replica * inputs + i))
        cell, inside, beyond = _locate(number, start, width, rows - F + 1)
        row = table + (cell.to(tl.int64) * outputs)[:, None]
        for k in tl.static_range(F):
            slope = _polynomial(inside, F + k, F, POLYNOMIALS)
            weight = _polynomial(inside, k, F, POLYNOMIALS) + beyond * slope
            sums += weight[:, None] * _real(tl.load(row + k * outputs, mask=wanted, other=0.0))
        table += rows.to(tl.int64) * outputs
    target = total + place_of[:, None] * outputs + output[None, :]
    tl.store(target, sums / _scale(F), mask=known[:, None] & wanted)


@triton.jit
def backward_x(
    x,
    table,
    first,
    spacing,
    grad,
    by_x,
    batch,
    inputs,
    rows,
    outputs,
    F: tl.constexpr,
    INPUTS: tl.constexpr,
    SAMPLES: tl.constexpr,
    OUTPUTS: tl.constexpr,
    POLYNOMIALS: tl.constexpr,
):
    """The gradient of a block of samples and of inputs, one after the other."""
    blocks = tl.cdiv(batch, SAMPLES)
    replica = (tl.program_id(0) // blocks).to(tl.int64)
    sample = tl.program_id(0) % blocks * SAMPLES + tl.arange(0, SAMPLES)
    known = sample < batch
    place_of = replica * batch + sample
    begin = tl.program_id(1) * INPUTS
    table += (replica * inputs + begin) * rows * outputs
    for i in range(begin, tl.minimum(begin + INPUTS, inputs)):
        number = _real(tl.load(x + place_of * inputs + i, mask=known, other=0.0))
        start = _real(tl.load(first + replica * inputs + i))
        width = _real(tl.load(spacing + replica * inputs + i))
        cell, inside, _ = _locate(number, start, width, rows - F + 1)
        products = tl.zeros((SAMPLES, OUTPUTS), inside.dtype)
        for j in range(0, outputs, OUTPUTS):
            output = (j + tl.arange(0, OUTPUTS))[None, :]
            wanted = output < outputs
            row = table + (cell.to(tl.int64) * outputs)[:, None] + output
            along = tl.zeros((SAMPLES, OUTPUTS), inside.dtype)
            for k in tl.static_range(F):
                slope = _polynomial(inside, F + k, F, POLYNOMIALS)
                along += slope[:, None] * _real(tl.load(row + k * outputs, mask=wanted, other=0.0))
            source = grad + place_of[:, None] * outputs + output
            products += along * _real(tl.load(source, mask=known[:, None] & wanted, other=0.0))
        slopes = tl.sum(products, 1) / (_scale(F) * width)
        tl.store(by_x + place_of * inputs + i, slopes, mask=known)
        table += rows.to(tl.int64) * outputs


@triton.jit
def find_cells(
    x,
    first,
    spacing,
    cells,
    batch,
    inputs,
    count,
    SAMPLES: tl.constexpr,
    INPUTS: tl.constexpr,
):
    """The cell, of `count`, of each sample of each input, `(inputs, batch)`."""
    blocks = tl.cdiv(batch, SAMPLES)
    replica = (tl.program_id(0) // blocks).to(tl.int64)
    sample = tl.program_id(0) % blocks * SAMPLES + tl.arange(0, SAMPLES)[:, None]
    i = tl.program_id(1) * INPUTS + tl.arange(0, INPUTS)[None, :]
    here, there = i < inputs, (sample < batch) & (i < inputs)
    number = _real(tl.load(x + (replica * batch + sample) * inputs + i, mask=there, other=0.0))
    start = _real(tl.load(first + replica * inputs + i, mask=here, other=0.0))
    width = _real(tl.load(spacing + replica * inputs + i, mask=here, other=1.0))
    cell, _, _ = _locate(number, start, width, count)
    tl.store(cells + (replica * inputs + i) * batch + sample, cell, mask=there)


@triton.jit
def backward_table(
    x,
    first,
    spacing,
    grad,
    order,
    starts,
    by_table,
    batch,
    inputs,
    rows,
    outputs,
    replicas,
    parts,
    F: tl.constexpr,
    SORTED: tl.constexpr,
    INPUTS: tl.constexpr,
    ROWS: tl.constexpr,
    SAMPLES: tl.constexpr,
    OUTPUTS: tl.constexpr,
    POLYNOMIALS: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """One part of the gradient of a block of rows, of one input or a few.

    The product of the weights, made on the fly, and of the sums' gradients. If samples are sorted
    by their cells, only those that read one of the rows are visited: sample `order[i, n]` of input
    `i`, `(inputs, batch)`, those of a cell beginning at `starts[i, cell]`, `(inputs, cells + 1)`.
    The gradient is the sum of its parts, `(parts, replicas, inputs, rows, outputs)`.
    """
    groups, blocks = tl.cdiv(inputs, INPUTS), tl.cdiv(rows, ROWS)
    number = tl.program_id(0)
    row = number % blocks * ROWS
    leading = number // blocks % groups * INPUTS
    replica = (number // blocks // groups).to(tl.int64)
    output = tl.program_id(1) * OUTPUTS + tl.arange(0, OUTPUTS)[None, :]
    i = (leading + tl.arange(0, INPUTS))[:, None]
    here, wanted = i < inputs, output < outputs
    start = _real(tl.load(first + replica * inputs + i, mask=here, other=0.0))
    width = _real(tl.load(spacing + replica * inputs + i, mask=here, other=1.0))
    cells = rows - F + 1
    begin, end = 0, batch
    if SORTED:
        starts += (replica * inputs + leading) * (cells + 1)
        begin = tl.load(starts + tl.maximum(row - F + 1, 0))
        end = tl.load(starts + tl.minimum(row + ROWS, cells))
    share = tl.cdiv(end - begin, parts)
    begin += tl.program_id(2) * share
    end = tl.minimum(begin + share, end)
    row += tl.arange(0, ROWS)[None, :, None]
    sums = tl.zeros((INPUTS * ROWS, OUTPUTS), start.dtype)
    for n in range(begin, end, SAMPLES):
        place = n + tl.arange(0, SAMPLES)
        known = place < end
        sample = place.to(tl.int64)
        if SORTED:
            source = order + (replica * inputs + leading) * batch + place
            sample = tl.load(source, mask=known, other=0)
        sample += replica * batch
        source = x + sample[None, :] * inputs + i
        cell, inside, beyond = _locate(
            _real(tl.load(source, mask=known[None, :] & here, other=0.0)), start, width, cells
        )
        weights = tl.zeros((INPUTS, ROWS, SAMPLES), start.dtype)
        for k in tl.static_range(F):
            slope = _polynomial(inside, F + k, F, POLYNOMIALS)
            weight = _polynomial(inside, k, F, POLYNOMIALS) + beyond * slope
            weights += tl.where((cell + k)[:, None, :] == row, weight[:, None, :], 0.0)
        source = grad + sample[:, None] * outputs + output
        slopes = _real(tl.load(source, mask=known[:, None] & wanted, other=0.0))
        weights = tl.reshape(weights, (INPUTS * ROWS, SAMPLES))
        sums = tl.dot(weights, slopes, sums, input_precision=PRECISION, out_dtype=start.dtype)
    target = ((tl.program_id(2).to(tl.int64) * replicas + replica) * inputs + i) * rows
    target = tl.reshape(target[:, :, None] + row, (INPUTS * ROWS, 1)) * outputs + output
    there = tl.reshape(here[:, :, None] & (row < rows), (INPUTS * ROWS, 1))
    tl.store(by_table + target, sums / _scale(F), mask=there & wanted)
