{#- A table of the lake's audit, or no rows where there is none: a lake on which nothing ran yet, a warehouse into which
    only silver was loaded. columns: name -> type of those that are read; `instant` is a timestamp as the lake has it. -#}
{% macro audit(name, columns) -%}
{%- set relation = source('audit', name) -%}
{%- if not execute or audit_is_there(relation) -%}
{{ relation }}
{%- else -%}
(
    select
        {%- for column, type in columns.items() %}
        cast(null as {{ audit_instant() if type == 'instant' else type }}) as "{{ column }}"{{ ',' if not loop.last }}
        {%- endfor %}
    where false
) as nothing
{%- endif %}
{%- endmacro %}

{% macro audit_is_there(relation) %}{{ return(adapter.dispatch('audit_is_there')(relation)) }}{% endmacro %}

{% macro default__audit_is_there(relation) -%}
{{ return(adapter.get_relation(relation.database, relation.schema, relation.identifier) is not none) }}
{%- endmacro %}

{#- Asked of the folder: a source that is no table of DuckDB's is in no catalog. -#}
{% macro duckdb__audit_is_there(relation) -%}
{%- set log = env_var('GROCERY_LAKE') ~ '/audit/' ~ relation.identifier ~ '/_delta_log/*.json' -%}
{{ return(run_query("select count(*) from glob('" ~ log ~ "')").columns[0].values()[0] > 0) }}
{%- endmacro %}

{% macro audit_instant() %}{{ return(adapter.dispatch('audit_instant')()) }}{% endmacro %}

{% macro default__audit_instant() %}{{ return('timestamp') }}{% endmacro %}

{% macro duckdb__audit_instant() %}{{ return('timestamp with time zone') }}{% endmacro %}
