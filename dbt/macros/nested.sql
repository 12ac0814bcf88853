{#- A field of a struct column, of a type: Redshift knows none of a field that it is not told. Without one, to go deeper. -#}
{% macro struct_field(column, field, type=none) -%}
{{ return(typed(adapter.dispatch('struct_field')(column, field), type)) }}
{%- endmacro %}

{% macro typed(value, type) %}{{ return('cast(' ~ value ~ ' as ' ~ type ~ ')' if type else value) }}{% endmacro %}

{% macro default__struct_field(column, field) %}{{ column }}."{{ field }}"{% endmacro %}

{% macro duckdb__struct_field(column, field) %}struct_extract({{ column }}, '{{ field }}'){% endmacro %}


{#- A value of a map column, of a type, null where the key is missing. -#}
{% macro map_value(column, key, type) %}{{ return(typed(adapter.dispatch('map_value')(column, key), type)) }}{% endmacro %}

{% macro default__map_value(column, key) %}{{ column }}."{{ key }}"{% endmacro %}

{% macro duckdb__map_value(column, key) %}map_extract_value({{ column }}, '{{ key }}'){% endmacro %}

{% macro athena__map_value(column, key) %}element_at({{ column }}, '{{ key }}'){% endmacro %}


{#- How many elements an array column has; null where there is no array. -#}
{% macro array_size(array) %}{{ return(adapter.dispatch('array_size')(array)) }}{% endmacro %}

{% macro default__array_size(array) %}get_array_length({{ array }}){% endmacro %}

{% macro duckdb__array_size(array) %}len({{ array }}){% endmacro %}

{% macro athena__array_size(array) %}cardinality({{ array }}){% endmacro %}


{#- Second half of a FROM: one row per element of an array of structs, the element under `alias`. -#}
{% macro each_element(array, alias) %}{{ return(adapter.dispatch('each_element')(array, alias)) }}{% endmacro %}

{% macro default__each_element(array, alias) %}, {{ array }} as {{ alias }}{% endmacro %}

{% macro duckdb__each_element(array, alias) %}cross join unnest({{ array }}) as unnested_{{ alias }}({{ alias }}){% endmacro %}

{#- Athena makes a column of each field of the structs, under their names; `alias`."field" finds it. -#}
{% macro athena__each_element(array, alias) %}cross join unnest({{ array }}) as {{ alias }}{% endmacro %}
