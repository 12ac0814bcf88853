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

{#- Average of an exact type: the sum is exact, so the number of threads cannot change its digits. -#}
{% macro exact_avg(column) -%}
cast(round(sum({{ column }}) / nullif(count({{ column }}), 0), 6) as decimal(18, 6))
{%- endmacro %}
