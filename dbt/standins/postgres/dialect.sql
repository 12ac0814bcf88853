{#- In place of what Redshift understands and PostgreSQL does not. Only `make test-redshift` has this on its macro path
    (GROCERY_DBT_STANDIN=postgres); the SQL that goes to Redshift is made without it. -#}

{% macro redshift__dateadd(datepart, interval, from_date_or_timestamp) -%}
(cast({{ from_date_or_timestamp }} as timestamp) + ({{ interval }}) * interval '1 {{ datepart }}')
{%- endmacro %}

{#- Boundaries crossed, as Redshift counts them. -#}
{% macro redshift__datediff(first_date, second_date, datepart) -%}
    {%- if datepart == 'day' -%}
(cast({{ second_date }} as date) - cast({{ first_date }} as date))
    {%- elif datepart == 'millisecond' -%}
cast(
    floor(extract(epoch from cast({{ second_date }} as timestamp)) * 1000)
    - floor(extract(epoch from cast({{ first_date }} as timestamp)) * 1000)
    as bigint
)
    {%- else -%}
        {{ exceptions.raise_compiler_error('the stand-in has no datediff of ' ~ datepart) }}
    {%- endif -%}
{%- endmacro %}

{% macro redshift__listagg(measure, delimiter_text, order_by_clause, limit_num) -%}
string_agg({{ measure }}, {{ delimiter_text }} {{ order_by_clause }})
{%- endmacro %}

{% macro postgres__struct_field(column, field) -%}
({{ column }} -> '{{ field }}')
{%- endmacro %}

{% macro postgres__map_value(column, key) -%}
({{ column }} -> '{{ key }}')
{%- endmacro %}

{% macro postgres__each_element(array, alias) -%}
cross join lateral jsonb_array_elements({{ array }}) as unnested_{{ alias }} ({{ alias }})
{%- endmacro %}
