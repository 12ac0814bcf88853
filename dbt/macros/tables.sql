{#- dbt-athena asks for this macro, and dbt-adapters has it from a version on that is newer than ours. All it is asked is
    whether a described column is missing, and that a contract has made sure of. -#}
{% macro validate_doc_columns(relation, column_dict, existing_column_names) %}{{ return(column_dict) }}{% endmacro %}

{#- A contract's VARCHAR on Redshift: without a length it would hold 256 bytes, and a longer text end the run. -#}
{% macro redshift__get_table_columns_and_constraints() -%}
{{ return(modules.re.sub('\\bvarchar\\b(?! *\\()', 'varchar(65535)', table_columns_and_constraints())) }}
{%- endmacro %}
