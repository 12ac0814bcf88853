{#- A pseudonym, or null where the person was erased: all who were have the same one, so it must not join one to another.
    The digits are batch_jobs/sought.py's ERASED. -#}
{% macro pseudonym(column, kind) -%}
nullif({{ column }}, '{{ kind }}_eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee')
{%- endmacro %}
