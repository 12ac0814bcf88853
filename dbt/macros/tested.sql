{#- In place of dbt's own: a build that goes on tests the rows it made, and of staging the days with rows that no run has
    read (int_silver_batch), as all others were tested before. Which it is says the test's `where`, set for whole folders
    in dbt_project.yml. `dbt test` by hand tests every row. -#}
{% macro get_where_subquery(relation) -%}
    {%- set where = config.get('where', '') if execute else '' -%}
    {%- set where = rows_of_this_run(where, relation) if where in ['new', 'touched'] else where -%}
    {{ return('(select * from ' ~ relation ~ ' as tested where ' ~ where ~ ') as some_rows' if where else relation) }}
{%- endmacro %}

{% macro rows_of_this_run(which, relation) %}
    {%- set node = graph.nodes.get(model.attached_node) -%}
    {%- set batch = as_it_was('int_silver_batch') -%}
    {%- if flags.WHICH != 'build' or flags.FULL_REFRESH or batch is none or not node %}{{ return('') }}{% endif -%}
    {%- if which == 'touched' -%}
        {%- set touched = node.config.meta.get('touched') -%}
        {{ return(touched_condition(touched, 'tested', as_it_was) if touched else '') }}
    {%- endif -%}
    {#- What runs left about themselves is in no batch of silver. -#}
    {%- if node.sources and node.sources[0][0] == 'audit' -%}{{ return('') }}{%- endif -%}
    {{ return("tested.event_date in (select event_date from " ~ batch ~ " where source = '" ~ node.name ~ "')") }}
{% endmacro %}
