{#- A contract's VARCHAR on Redshift: without a length it would hold 256 bytes, and a longer text end the run. -#}
{% macro redshift__get_table_columns_and_constraints() -%}
{{ return(modules.re.sub('\\bvarchar\\b(?! *\\()', 'varchar(65535)', table_columns_and_constraints())) }}
{%- endmacro %}
