/* Sums of splines, and their gradients, on one thread.

Compiled once for each type of numbers, REAL. All arrays are contiguous; all but the polynomials have
a leading axis of replicas, which know nothing of each other:

    x            (batch, inputs)
    table        (inputs, rows, outputs)      coefficients
    first        (inputs,)                    the first knot of each input
    spacing      (inputs,)                    the distance of two knots
    polynomials  (functions, 2 * functions)   the basis functions on a cell, and then their
                                              derivatives, by powers of the place in it, times scale
    total, grad  (batch, outputs)             the sums, and the gradient with respect to them

A sample reads `functions` rows of each input's table, which lie one after the other. */

#include <stdint.h>
#include <string.h>

#define BLOCK 256              /* samples whose weights are kept on the stack */
#define MOST 6                 /* functions on a cell: degree 5 */
#define AHEAD 32               /* samples by which rows are asked for before they are needed */
#define CACHE (128 * 1024)     /* bytes of a table from which that pays */

#define INLINE static inline __attribute__((always_inline))
#define NOINLINE static __attribute__((noinline))

typedef struct {
    const REAL *restrict x;
    const REAL *restrict table;
    const REAL *restrict first;
    const REAL *restrict spacing;
    const REAL *restrict polynomials;
    int64_t batch, inputs, rows, outputs;
    REAL scale;
} Splines;

/* Those of one replica. */
INLINE Splines replica_of(const Splines *s, int64_t replica)
{
    Splines one = *s;
    one.x += replica * s->batch * s->inputs;
    one.table += replica * s->inputs * s->rows * s->outputs;
    one.first += replica * s->inputs;
    one.spacing += replica * s->inputs;
    return one;
}

typedef struct {
    int32_t cell[BLOCK];
    REAL value[MOST][BLOCK], slope[MOST][BLOCK];
} Weights;

/* The cells of some samples of an input, and the basis functions and their derivatives there. */
INLINE void weigh(const int F, const Splines *s, int64_t input, int64_t start, int64_t count,
                  Weights *restrict w)
{
    const REAL first = s->first[input], spacing = s->spacing[input];
    const REAL last = (REAL)(s->rows - F);
    const REAL *restrict x = s->x + start * s->inputs + input;
    REAL inside[BLOCK], beyond[BLOCK];

    for (int64_t b = 0; b < count; b++) {
        const REAL position = (x[b * s->inputs] - first) / spacing;
        /* A NaN, for which no comparison holds, is in the first cell and comes out as NaN. */
        REAL low = position > 0 ? position : 0;
        low = low < last ? low : last;
        /* Once more in whole numbers: `last` is rounded where there are millions of rows. */
        const int32_t cell = (int32_t)low, most = (int32_t)(s->rows - F);
        w->cell[b] = cell < most ? cell : most;
        const REAL t = position - (REAL)w->cell[b];
        inside[b] = t < 0 ? 0 : t > 1 ? 1 : t;
        beyond[b] = t - inside[b];
    }
    for (int k = 0; k < F; k++) {
        for (int64_t b = 0; b < count; b++) {
            REAL value = s->polynomials[(F - 1) * 2 * F + k];
            REAL slope = s->polynomials[(F - 1) * 2 * F + F + k];
            for (int power = F - 2; power >= 0; power--) {
                value = value * inside[b] + s->polynomials[power * 2 * F + k];
                slope = slope * inside[b] + s->polynomials[power * 2 * F + F + k];
            }
            w->value[k][b] = (value + beyond[b] * slope) / s->scale;
            w->slope[k][b] = slope / (s->scale * spacing);
        }
    }
}

/* Asks for the rows of a sample to come. */
INLINE void prefetch(const int F, const Splines *s, const REAL *rows, int writing)
{
    for (int64_t n = 0; n < F * s->outputs; n += 64 / (int64_t)sizeof(REAL)) {
        if (writing)
            __builtin_prefetch(rows + n, 1);
        else
            __builtin_prefetch(rows + n, 0);
    }
}

INLINE int is_large(const Splines *s)
{
    return s->rows * s->outputs * (int64_t)sizeof(REAL) > CACHE;
}

/* Sums of the samples from `begin` to `end`. */
INLINE void forward(const int F, const Splines *s, REAL *restrict total, int64_t begin, int64_t end)
{
    const int64_t outputs = s->outputs;
    const int large = is_large(s);
    Weights w;

    if (begin < end)
        memset(total + begin * outputs, 0, (end - begin) * outputs * sizeof(REAL));
    for (int64_t start = begin; start < end; start += BLOCK) {
        const int64_t count = end - start < BLOCK ? end - start : BLOCK;
        for (int64_t input = 0; input < s->inputs; input++) {
            const REAL *restrict table = s->table + input * s->rows * outputs;
            weigh(F, s, input, start, count, &w);
            for (int64_t b = 0; b < count; b++) {
                const REAL *restrict row = table + w.cell[b] * outputs;
                REAL *restrict sum = total + (start + b) * outputs;
                REAL value[MOST];
                for (int k = 0; k < F; k++)
                    value[k] = w.value[k][b];
                if (large && b + AHEAD < count)
                    prefetch(F, s, table + w.cell[b + AHEAD] * outputs, 0);
                for (int64_t j = 0; j < outputs; j++) {
                    REAL added = sum[j];
                    for (int k = 0; k < F; k++)
                        added += value[k] * row[k * outputs + j];
                    sum[j] = added;
                }
            }
        }
    }
}

/* Gradients of the inputs from `begin` to `end` and of their tables; either may be left out. */
INLINE void backward(const int F, const Splines *s, const REAL *restrict grad,
                     REAL *restrict by_x, REAL *restrict by_table, int64_t begin, int64_t end)
{
    const int64_t outputs = s->outputs, size = s->rows * outputs;
    const int large = is_large(s);
    Weights w;

    for (int64_t input = begin; input < end; input++) {
        const REAL *restrict table = s->table + input * size;
        REAL *restrict slopes = by_table ? by_table + input * size : 0;
        if (slopes)
            memset(slopes, 0, size * sizeof(REAL));
        for (int64_t start = 0; start < s->batch; start += BLOCK) {
            const int64_t count = s->batch - start < BLOCK ? s->batch - start : BLOCK;
            weigh(F, s, input, start, count, &w);
            for (int64_t b = 0; b < count; b++) {
                const int64_t place = w.cell[b] * outputs;
                const REAL *restrict g = grad + (start + b) * outputs;
                const int64_t next = large && b + AHEAD < count ? w.cell[b + AHEAD] * outputs : -1;
                if (by_x) {
                    const REAL *restrict row = table + place;
                    REAL slope[MOST], sum = 0;
                    for (int k = 0; k < F; k++)
                        slope[k] = w.slope[k][b];
                    if (next >= 0)
                        prefetch(F, s, table + next, 0);
                    for (int64_t j = 0; j < outputs; j++) {
                        REAL along = 0;
                        for (int k = 0; k < F; k++)
                            along += slope[k] * row[k * outputs + j];
                        sum += g[j] * along;
                    }
                    by_x[(start + b) * s->inputs + input] = sum;
                }
                if (slopes) {
                    if (next >= 0)
                        prefetch(F, s, slopes + next, 1);
                    for (int k = 0; k < F; k++) {
                        REAL *restrict row = slopes + place + k * outputs;
                        const REAL value = w.value[k][b];
                        for (int64_t j = 0; j < outputs; j++)
                            row[j] += value * g[j];
                    }
                }
            }
        }
    }
}

/* Tables of one output, such as the last layer of most networks: the loops are over samples, since
those over outputs would have a single turn. Sums have the same order as above. These functions are
not inlined: the compiler would then order the sums of the functions above in another way. */
NOINLINE void forward_one_output(const Splines *s, REAL *restrict total)
{
    Weights w;

    for (int64_t start = 0; start < s->batch; start += BLOCK) {
        const int64_t count = s->batch - start < BLOCK ? s->batch - start : BLOCK;
        REAL *restrict sum = total + start;
        memset(sum, 0, count * sizeof(REAL));
        for (int64_t input = 0; input < s->inputs; input++) {
            const REAL *restrict table = s->table + input * s->rows;
            weigh(2, s, input, start, count, &w);
            for (int k = 0; k < 2; k++)
                for (int64_t b = 0; b < count; b++)
                    sum[b] += w.value[k][b] * table[w.cell[b] + k];
        }
    }
}

NOINLINE void backward_one_output(const Splines *s, const REAL *restrict grad, REAL *restrict by_x,
                           REAL *restrict by_table)
{
    Weights w;

    for (int64_t input = 0; input < s->inputs; input++) {
        const REAL *restrict table = s->table + input * s->rows;
        REAL *restrict slopes = by_table ? by_table + input * s->rows : 0;
        if (slopes)
            memset(slopes, 0, s->rows * sizeof(REAL));
        for (int64_t start = 0; start < s->batch; start += BLOCK) {
            const int64_t count = s->batch - start < BLOCK ? s->batch - start : BLOCK;
            const REAL *restrict g = grad + start;
            weigh(2, s, input, start, count, &w);
            if (by_x) {
                REAL *restrict along = by_x + start * s->inputs + input;
                for (int64_t b = 0; b < count; b++) {
                    const REAL *restrict row = table + w.cell[b];
                    along[b * s->inputs] = g[b] * (w.slope[0][b] * row[0] + w.slope[1][b] * row[1]);
                }
            }
            if (slopes) {
                for (int64_t b = 0; b < count; b++) {
                    w.value[0][b] *= g[b];
                    w.value[1][b] *= g[b];
                }
                for (int64_t b = 0; b < count; b++) {
                    slopes[w.cell[b]] += w.value[0][b];
                    slopes[w.cell[b] + 1] += w.value[1][b];
                }
            }
        }
    }
}

/* The same for many replicas, of which parts are shared out: replicas from `begin` to `end`. */
INLINE void forward_each(const int F, const Splines *s, int64_t replicas, REAL *total,
                         int64_t begin, int64_t end)
{
    if (replicas == 1) {
        forward(F, s, total, begin, end);
        return;
    }
    for (int64_t replica = begin; replica < end; replica++) {
        const Splines one = replica_of(s, replica);
        if (F == 2 && s->outputs == 1)
            forward_one_output(&one, total + replica * s->batch);
        else
            forward(F, &one, total + replica * s->batch * s->outputs, 0, s->batch);
    }
}

INLINE void backward_each(const int F, const Splines *s, int64_t replicas, const REAL *grad,
                          REAL *by_x, REAL *by_table, int64_t begin, int64_t end)
{
    if (replicas == 1) {
        backward(F, s, grad, by_x, by_table, begin, end);
        return;
    }
    for (int64_t replica = begin; replica < end; replica++) {
        const Splines one = replica_of(s, replica);
        REAL *x = by_x ? by_x + replica * s->batch * s->inputs : 0;
        REAL *table = by_table ? by_table + replica * s->inputs * s->rows * s->outputs : 0;
        if (F == 2 && s->outputs == 1)
            backward_one_output(&one, grad + replica * s->batch, x, table);
        else
            backward(F, &one, grad + replica * s->batch * s->outputs, x, table, 0, s->inputs);
    }
}

/* The number of functions is a constant in each case, so that loops over it are unrolled. */
#define FOR_EACH_DEGREE(call, ...)                                                                 \
    switch (functions) {                                                                           \
    case 2: call(2, __VA_ARGS__); break;                                                           \
    case 3: call(3, __VA_ARGS__); break;                                                           \
    case 4: call(4, __VA_ARGS__); break;                                                           \
    case 5: call(5, __VA_ARGS__); break;                                                           \
    case 6: call(6, __VA_ARGS__); break;                                                           \
    }

#define ARGUMENTS                                                                                  \
    const REAL *x, const REAL *table, const REAL *first, const REAL *spacing,                      \
        const REAL *polynomials, int64_t replicas, int64_t batch, int64_t inputs, int64_t rows,    \
        int64_t outputs, int64_t functions, int64_t scale
#define SPLINES                                                                                    \
    { x, table, first, spacing, polynomials, batch, inputs, rows, outputs, (REAL)scale }

/* Parts are samples in the first, inputs in the second; of several replicas, these. */
void spline_sum_forward(ARGUMENTS, REAL *total, int64_t begin, int64_t end)
{
    const Splines s = SPLINES;
    FOR_EACH_DEGREE(forward_each, &s, replicas, total, begin, end)
}

void spline_sum_backward(ARGUMENTS, const REAL *grad, REAL *by_x, REAL *by_table, int64_t begin,
                         int64_t end)
{
    const Splines s = SPLINES;
    FOR_EACH_DEGREE(backward_each, &s, replicas, grad, by_x, by_table, begin, end)
}
