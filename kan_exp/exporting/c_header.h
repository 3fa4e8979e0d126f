{% for line in about %}
/* {{ line | comment }} */
{% endfor %}
#ifndef {{ name }}_H
#define {{ name }}_H
#include <math.h>
#include <stdint.h>
#include <string.h>

enum { {{ name }}_FEATURES = {{ tables.schema.features | length }}, {{ name }}_OUTPUTS = {{ outputs | length }} };
{{ texts(name ~ "_outputs", outputs) }}
{% if tables.schema.classes %}
{{ texts(name ~ "_classes", tables.schema.classes) }}
{% endif %}

typedef struct {
{% for column, field in columns %}
    {{ {"category": "const char *", "date": "int64_t "}.get(column.kind, "double ") }}{{ field }}; /* {{ column.name | comment }} */
{% endfor %}
} {{ name }}_row;
{% if parts %}

/* What networks see of microseconds since 1970; after H. Hinnant's civil_from_days. */
static inline void {{ name }}_date(int64_t at, double *parts) {
    static const int starts[12] = {60, 91, 121, 152, 182, 213, 244, 274, 305, 335, 0, 31};
    const int64_t day_length = 86400000000LL, all = at + 719468LL * day_length;
    const int64_t days = all / day_length, second = all % day_length / 1000000;
    const int64_t era = days / 146097, day = days % 146097;
    const int64_t year = (day - day / 1460 + day / 36524 - day / 146096) / 365;
    const int64_t past = day - (365 * year + year / 4 - year / 100), month = (5 * past + 2) / 153;
    const int64_t ordinal = starts[month] + past - (153 * month + 2) / 5;
    const double turn = 6.283185307179586;
    parts[0] = (double)(year + 400 * era + (month >= 10));
    parts[1] = sin(turn * (double)ordinal / 366), parts[2] = cos(turn * (double)ordinal / 366);
    parts[3] = sin(turn * (double)((days + 2) % 7) / 7);
    parts[4] = cos(turn * (double)((days + 2) % 7) / 7);
    parts[5] = sin(turn * (double)second / 86400), parts[6] = cos(turn * (double)second / 86400);
}
{% endif %}

/* The network's inputs, from a row. */
static inline void {{ name }}_encode(const {{ name }}_row *row, double *x) {
{% for column, field in columns %}
    {% set rows = category_rows(column) %}
    {
        const {{ {"category": "char *const", "date": "int64_t"}.get(column.kind, "double") }} at = row->{{ field }};
    {% if rows is not none %}
        {{ texts("levels", column.levels) }}
        {{ array("double", "rows", rows) }}
        int code = at && *at ? 0 : {{ column.levels | length + 1 }};
        while (code < {{ column.levels | length }} && strcmp(at, levels[code])) ++code;
        for (int k = 0; k < {{ rows.shape[1] }}; ++k) *x++ = rows[code * {{ rows.shape[1] }} + k];
    {% elif column.kind == "date" %}
        const int gap = at == INT64_MIN;
        double parts[7];
        {{ name }}_date(gap ? {{ (column.fill or 0) | int }}LL : at, parts);
        {% for part in column.parts %}
        *x++ = {{ "gap ? NAN : " if column.fill is none }}parts[{{ parts.index(part) }}];
        {% endfor %}
    {% elif column.fill is none %}
        *x++ = {{ column.scale }}(at);
    {% else %}
        const int gap = isnan(at) ? 1 : 0;
        *x++ = {{ column.scale }}(gap ? {{ double(column.fill) }} : at);
    {% endif %}
    {% if column.gaps and rows is none %}
        *x++ = gap;
    {% endif %}
    }
{% endfor %}
}

{{ array("double", name ~ "_low", low) }}
{{ array("double", name ~ "_high", high) }}

/* Whether a row lies far outside of what the network was trained on. */
static inline int {{ name }}_outside(const {{ name }}_row *row) {
    double x[{{ name }}_FEATURES];
    {{ name }}_encode(row, x);
    for (int i = 0; i < {{ name }}_FEATURES; ++i)
        if (x[i] < {{ name }}_low[i] || x[i] > {{ name }}_high[i]) return 1;
    return 0;
}
{% for layer in tables.layers %}
{% set (inputs, rows, width), number = layer.coefficients.shape, loop.index0 %}
{% set products, bends = layer.products.any(), layer.bends is not none %}
{% set own = name ~ "_{}" ~ number %}

{{ array("float", own.format("first"), layer.first) }}
{{ array("float", own.format("spacing"), layer.spacing) }}
{{ array("float", own.format("table"), layer.coefficients) }}
{% if bends %}
{{ array("float", own.format("bends"), layer.bends) }}
{% endif %}
{% if products %}
{{ array("char", own.format("products"), layer.products) }}
{% endif %}

static inline void {{ own.format("layer") }}(const float *x, float *y) {
    float w[{{ layer.degree + 1 }}][{{ inputs }}], {{ "far[" ~ inputs ~ "], " if bends }}sum[{{ width }}];
    int at[{{ inputs }}];
    for (int i = 0; i < {{ inputs }}; ++i) { /* the cell of each input, and what it weighs there */
        const float place = (x[i] - {{ own.format("first") }}[i]) / {{ own.format("spacing") }}[i];
        const float cut = !(place > 0) ? 0 : place < {{ layer.cells - 1 }} ? place : {{ layer.cells - 1 }};
        const int cell = (int)cut;
        const float t = place - (float)cell, in = !(t > 0) ? 0 : t < 1 ? t : 1, beyond = t - in;
        at[i] = i * {{ rows }} + cell;
        {% if bends %}
        far[i] = beyond;
        {% endif %}
        {% for value, slope in weights(layer.degree) %}
        w[{{ loop.index0 }}][i] = {{ value }} + beyond * ({{ slope }});
        {% endfor %}
    }
    for (int j = 0; j < {{ width }}; ++j) sum[j] = {{ own.format("products") ~ "[j]" if products else 0 }};
    for (int i = 0; i < {{ inputs }}; ++i) {
        const float *c = {{ own.format("table") }} + at[i] * {{ width }};
        {% if bends %}
        const float *s = {{ own.format("bends") }} + (2 * i + (far[i] > 0)) * {{ width }};
        {% endif %}
        for (int j = 0; j < {{ width }}; ++j) {
            const float e = {% for k in range(layer.degree + 1) %}{{ " + " if k }}w[{{ k }}][i] * c[{{ k * width }} + j]{% endfor %}{{ " + far[i] * s[j]" if bends }};
            sum[j] = {{ own.format("products") ~ "[j] ? sum[j] * e : " if products }}sum[j] + e;
        }
    }
    for (int j = 0; j < {{ width }}; ++j) y[j] = sum[j];
}
{% endfor %}

{{ array("double", name ~ "_x_mean", tables.x_mean) }}
{{ array("double", name ~ "_x_std", tables.x_std) }}

/* Predictions of a row, {{ name }}_OUTPUTS numbers, see {{ name }}_outputs. */
static inline void {{ name }}_predict(const {{ name }}_row *row, double *y) {
    double x[{{ name }}_FEATURES];
    float a[{{ widest }}], b[{{ widest }}];
    {{ name }}_encode(row, x);
    for (int i = 0; i < {{ name }}_FEATURES; ++i)
        a[i] = (float)((x[i] - {{ name }}_x_mean[i]) / {{ name }}_x_std[i]);
{% set ends = cycler("a", "b") %}
{% for _ in tables.layers %}
    {{ name }}_layer{{ loop.index0 }}({{ ends.next() }}, {{ ends.current }});
{% endfor %}
{% set last = ends.current %}
{% if tables.activation == "softmax" %}
    double most = {{ last }}[0], total = 0;
    for (int j = 1; j < {{ count }}; ++j) most = {{ last }}[j] > most ? {{ last }}[j] : most;
    for (int j = 0; j < {{ count }}; ++j) total += y[j] = exp({{ last }}[j] - most);
    for (int j = 0; j < {{ count }}; ++j) y[j] /= total;
{% else %}
    for (int j = 0; j < {{ count }}; ++j) y[j] = {{ forms[tables.activation].format(last ~ "[j]") }};
{% endif %}
{% for form in decoded %}
    y[{{ loop.index0 }}] = {{ form.format("y[" ~ loop.index0 ~ "]") }};
{% endfor %}
}
#endif
