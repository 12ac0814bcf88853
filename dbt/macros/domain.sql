{#- A product code that compares equal however it was scanned: GTIN-8, -12, -13 and -14 are the same number with
    leading zeros (GS1 General Specifications), so all become 14 digits; a PLU (4 or 5 digits) stays as it is. -#}
{% macro product_code(code) -%}
case when length({{ code }}) >= 8 then lpad({{ code }}, 14, '0') else {{ code }} end
{%- endmacro %}

{#- DECIMAL major units of an amount in ISO 4217 minor units. -#}
{% macro major_units(minor, currency) -%}
cast(
        {{ minor }} * case
            when {{ currency }} in (
                'BIF', 'CLP', 'DJF', 'GNF', 'ISK', 'JPY', 'KMF', 'KRW', 'PYG', 'RWF', 'UGX', 'UYI', 'VND', 'VUV',
                'XAF', 'XOF', 'XPF'
            ) then 1.000
            when {{ currency }} in ('BHD', 'IQD', 'JOD', 'KWD', 'LYD', 'OMR', 'TND') then 0.001
            else 0.010
        end as decimal(18, 3)
    )
{%- endmacro %}

{#- Temperature (Cel) above which a minute is out of range for an asset class; null where none is set. -#}
{% macro cold_chain_limit_c(asset_class) -%}
cast(case {{ asset_class }}
        {%- for class, limit in var('cold_chain_limits_c').items() %} when '{{ class }}' then {{ limit }}{% endfor %}
    end as decimal(9, 3))
{%- endmacro %}

{#- The asset classes that have such a limit, as a list for IN. -#}
{% macro cold_chain_classes() -%}
('{{ var('cold_chain_limits_c').keys() | join("', '") }}')
{%- endmacro %}

{#- One number divided by another, null where that is 0: DECIMAL with places enough to be rounded alike everywhere.
    Warehouses differ in what they make of `/`: whole numbers of whole ones, or a DECIMAL that Redshift may leave as few
    as four places (AWS: Computations with numeric values). So it is divided as DOUBLE, row by row, never summed. -#}
{% macro quotient(number, by) -%}
cast(cast({{ number }} as double precision) / nullif(cast({{ by }} as double precision), 0) as decimal(38, 12))
{%- endmacro %}

{#- Average of an exact type: the sum is exact, so the number of threads cannot change its digits. -#}
{% macro exact_avg(column) -%}
cast(round({{ quotient('sum(' ~ column ~ ')', 'count(' ~ column ~ ')') }}, 6) as decimal(18, 6))
{%- endmacro %}

{#- Part of an amount, as part is of whole; exact to six places, so that sums don't depend on the order. -#}
{% macro part_of_amount(amount, part, whole) -%}
cast(round({{ quotient('cast(' ~ amount ~ ' as double precision) * (' ~ part ~ ')', whole) }}, 6) as decimal(18, 6))
{%- endmacro %}

{#- Share, 0 to 1, to six places; null where there is no whole. -#}
{% macro share(part, whole) -%}
cast(round({{ quotient(part, whole) }}, 6) as decimal(9, 6))
{%- endmacro %}

{#- Percent to two places; null where there is no whole. -#}
{% macro percent(part, whole) -%}
cast(round({{ quotient('100 * (' ~ part ~ ')', whole) }}, 2) as decimal(18, 2))
{%- endmacro %}

{#- Whether a meter's next count can be of the same meter: it fell by no more than its last digits, and rose by no more
    than its pipe or supply lets through in the time between. `metric` is a column. -#}
{% macro count_goes_on(metric, from_value, from_utc, to_value, to_utc) -%}
(
        {%- for name, kind in var('meter_counts').items() %}
        {{ 'or ' if not loop.first }}(
            {{ metric }} = '{{ name }}'
            and {{ to_value }} - {{ from_value }} >= -{{ kind.noise }}
            and {{ to_value }} - {{ from_value }}
                <= {{ seconds_between(from_utc, to_utc) }} * {{ kind.most_per_hour }} / 3600.0 + {{ kind.noise }}
        )
        {%- endfor %}
    )
{%- endmacro %}

{#- Condition: the receipt's number is no other's in its store (int_repeated_receipt). -#}
{% macro counts(receipt) -%}
not exists (
        select 1
        from {{ ref('int_repeated_receipt') }} as repeated
        where repeated.event_id = {{ receipt }}.event_id
    )
{%- endmacro %}
