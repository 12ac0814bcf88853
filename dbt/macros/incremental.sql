{#- A run that goes on recomputes what was touched since the last one: by new rows of silver, known by `loaded_at`, and by
    new versions of dimensions. int_silver_batch says which rows are new, int_touched_* what they touch; a fact's
    `touched` (in its meta) says which of its rows that are; none means all of them. docs/decisions.md has the why.

    What a model does when it goes on stands under `if goes_on()`: also true when dbt parses, so that it sees the refs. -#}
{% macro goes_on() %}{{ return(not execute or (model.resource_type == 'model' and is_incremental())) }}{% endmacro %}

{#- Everything is built from nothing: nobody asks what is touched. -#}
{% macro refreshes() %}{{ return(execute and flags.FULL_REFRESH) }}{% endmacro %}


{#- Whether this run is the first to read a row of a staging model. Both columns are silver's own, as they are: the date
    is the partition, so that days without a new row are not opened. -#}
{% macro is_new(source, alias) -%}
{{ alias }}.event_date in (select event_date from {{ ref('int_silver_batch') }} where source = '{{ source }}')
        and {{ alias }}.loaded_at in (select loaded_at from {{ ref('int_silver_batch') }} where source = '{{ source }}')
{%- endmacro %}


{#- A stamp of silver's as a table of gold can hold it: Athena reads milliseconds from Delta, and its Iceberg takes none. -#}
{% macro kept_stamp(stamp) %}{{ return(adapter.dispatch('kept_stamp')(stamp)) }}{% endmacro %}

{% macro default__kept_stamp(stamp) %}{{ stamp }}{% endmacro %}

{% macro athena__kept_stamp(stamp) %}cast({{ stamp }} as timestamp(6) with time zone){% endmacro %}


{#- A model's table as the last run left it, none where there is none. No dependency: what is asked may be built from what
    asks. -#}
{% macro as_it_was(name) %}
    {%- if not execute %}{{ return(name) }}{% endif -%}
    {%- set found = (graph.nodes.values() | selectattr('resource_type', 'equalto', 'model') | selectattr('name', 'equalto', name) | list)[0] -%}
    {{ return(adapter.get_relation(database=found.database, schema=found.schema, identifier=found.alias)) }}
{% endmacro %}


{#- Which rows are touched, as a condition on `alias`. touched: a list; a row that one of them names is touched.
    by: model with a row for each thing touched; key: columns that are the same in both; at: a column of the fact that is
    in the span of `by` (from from_utc to to_utc, not included, or the columns named so); only: condition on `touched`. -#}
{% macro is_touched(touched, alias) -%}
{{ return(touched_condition(touched, alias, ref) if touched and goes_on() else 'true') }}
{%- endmacro %}

{#- find: gives the relation of a model by its name. Nothing is looked for among spans where there are none, nor what
    lies outside all of them. That is said by instants and not by a subquery: by them an engine knows before it reads
    which files and row groups it can leave. -#}
{% macro touched_condition(touched, alias, find) -%}
    {%- set conditions = [] -%}
    {%- for one in touched -%}
        {%- set outer = spanned(one) -%}
        {%- if outer -%}{%- do conditions.append(touched_by(one, alias, find(one.by), outer)) -%}{%- endif -%}
    {%- endfor -%}
    {{ return('(' ~ conditions | join('\n        or ') ~ '\n    )' if conditions else 'false') }}
{%- endmacro %}

{% macro touched_by(one, alias, by, outer) -%}
exists (
            select 1
            from {{ by }} as touched
            where
                {%- for column in one.key %}
                {{ 'and ' if not loop.first }}touched.{{ column }} = {{ alias }}.{{ column }}
                {%- endfor %}
                {%- if one.at %}
                and {{ alias }}.{{ one.at }} >= touched.{{ one.get('from', 'from_utc') }}
                and {{ alias }}.{{ one.at }} < touched.{{ one.get('to', 'to_utc') }}
                {%- endif %}
                {%- if one.only %}
                and touched.{{ one.only }}
                {%- endif %}
        )
        {%- if one.at %}
        and {{ alias }}.{{ one.at }} >= {{ outer.first }}
        and {{ alias }}.{{ one.at }} < {{ outer.last }}
        {%- endif %}
{%- endmacro %}

{#- The first and the last instant (or date, where `at` is one) of all that is touched, none where nothing is; all of time
    where nobody is to be asked (dbt's --no-introspect). -#}
{% macro spanned(one) %}
    {%- set is_date = one.at and one.at.endswith('_date') -%}
    {%- set by = as_it_was(one.by) if execute and flags.INTROSPECT else none -%}
    {%- if not by -%}
        {{ return({'first': day("1900-01-01"), 'last': day("9999-12-31")} if is_date else {'first': time_begins(), 'last': time_ends()}) }}
    {%- endif -%}
    {%- set found -%}
        select
            {# A thing without a span is touched as it is, not in a time. #}
            count({{ one.get('from', 'from_utc') if one.at else '*' }}) as spans,
            {% if one.at -%}
            cast(min({{ one.get('from', 'from_utc') }}) as varchar) as first_at,
            cast(max({{ one.get('to', 'to_utc') }}) as varchar) as last_at
            {%- else -%}
            'any' as first_at,
            'any' as last_at
            {%- endif %}
        from {{ by }} as touched
        {%- if one.only %}
        where touched.{{ one.only }}
        {%- endif %}
    {%- endset -%}
    {%- set row = run_query(found).rows[0] -%}
    {%- if not row[0] %}{{ return(none) }}{% endif -%}
    {%- set bounds = [] -%}
    {%- for at in [row[1], row[2]] %}{% do bounds.append(day(at) if is_date else instant("'" ~ at ~ "'")) %}{% endfor -%}
    {{ return({'first': bounds[0], 'last': bounds[1]}) }}
{% endmacro %}

{#- Incremental strategy `touched`: what is touched goes, what was computed for it comes, in one transaction. -#}
{% macro get_incremental_touched_sql(arguments) %}
    {{ return(adapter.dispatch('get_incremental_touched_sql')(arguments)) }}
{% endmacro %}

{% macro default__get_incremental_touched_sql(arguments) %}
    {%- set columns = get_quoted_csv(arguments.dest_columns | map(attribute='name')) -%}
    delete from {{ arguments.target_relation }}
    where {{ is_touched(config.get('meta').touched, arguments.target_relation.identifier) }}
    {{- may_go(arguments.target_relation) }};

    insert into {{ arguments.target_relation }} ({{ columns }})
    select {{ columns }}
    from {{ arguments.temp_relation }} as computed
    {{- may_come(arguments.target_relation, 'computed') }}
{% endmacro %}

{#- Athena has no transactions, so there one MERGE does both: a run that is killed leaves a table as it was or as it is to
    be, and a statement that dbt-athena sends again changes nothing more. A row of the table that goes is matched by its
    grain, which the model's test `unique_combination` names; a row that comes matches nothing.
    dbt-athena refuses a strategy that it does not know, and has one place where it writes: these two macros of its own
    are replaced for `touched`, and left to it for all others. -#}
{% macro validate_get_incremental_strategy(raw_strategy, table_type) %}
    {%- if raw_strategy == 'touched' and table_type == 'iceberg' %}{{ return('append') }}{% endif -%}
    {{ return(dbt.validate_get_incremental_strategy(raw_strategy, table_type)) }}
{% endmacro %}

{% macro incremental_insert(on_schema_change, tmp_relation, target_relation, existing_relation, force_batch, statement_name='main') %}
    {%- if config.get('incremental_strategy') != 'touched' -%}
    {{ return(dbt.incremental_insert(on_schema_change, tmp_relation, target_relation, existing_relation, force_batch, statement_name)) }}
    {%- endif -%}
    {%- do process_schema_changes(on_schema_change, tmp_relation, existing_relation) -%}
    {%- set names = adapter.get_columns_in_relation(target_relation) | map(attribute='name') | list -%}
    {%- set grain = grain_among(names) -%}
    merge into {{ target_relation }} as kept
    using (
        select false as is_gone, {{ names | join(', ') }}
        from {{ tmp_relation }} as computed
        {{- may_come(target_relation, 'computed') }}

        union all

        select true
            {%- for name in names %}, {{ name if name in grain else 'null' }}{% endfor %}
        from {{ target_relation }}
        where {{ is_touched(config.get('meta').touched, target_relation.identifier) }}
        {{- may_go(target_relation) }}
    ) as found
    on found.is_gone
        {%- for name in grain %}
        and kept.{{ name }} = found.{{ name }}
        {%- endfor %}
    when matched then delete
    when not matched and not found.is_gone then insert ({{ names | join(', ') }})
        values (found.{{ names | join(', found.') }})
{% endmacro %}

{#- The columns that this model's grain is made of. -#}
{% macro grain_among(names) %}
    {%- set tests = graph.nodes.values()
        | selectattr('resource_type', 'equalto', 'test')
        | selectattr('attached_node', 'equalto', model.unique_id)
        | selectattr('test_metadata.name', 'equalto', 'unique_combination') | list -%}
    {%- set told = tests[0].test_metadata.kwargs.columns | join(' ') -%}
    {%- set found = [] -%}
    {%- for name in names if modules.re.search('\\b' ~ name ~ '\\b', told) %}{% do found.append(name) %}{% endfor -%}
    {{ return(found) }}
{% endmacro %}


{#- Join condition: the instant is in the time of a changed version of its store, or near enough that a local day that
    begins or ends in it may reach there. -#}
{% macro near(version, instant_utc) -%}
{{ dbt.dateadd('day', 2, instant_utc) }} >= {{ version }}.from_utc
        and {{ dbt.dateadd('day', -2, instant_utc) }} < {{ version }}.to_utc
{%- endmacro %}

{#- from_utc and to_utc, between which every local hour begins that an event in an hour of UTC can be in. -#}
{% macro local_hours_of(hour_utc) -%}
{{ dbt.dateadd('minute', -59, hour_utc) }} as from_utc,
    {{ dbt.dateadd('hour', 1, hour_utc) }} as to_utc
{%- endmacro %}

{#- The days of UTC that touched spans have, for the partition column of a staging model. hours: how much longer than the
    span an event may come. -#}
{% macro touched_days(by, hours=0, from='from_utc', to='to_utc') -%}
select cast({{ dbt.dateadd('day', 'cast(numbers.generated_number - 1 as integer)', 'days.first_date') }} as date)
            from (
                select distinct
                    cast({{ from }} as date) as first_date,
                    cast({{ dbt.dateadd('hour', hours, to) }} as date) as last_date
                from {{ ref(by) }}
            ) as days
            inner join ({{ dbt.generate_series(1000) }}) as numbers
                on numbers.generated_number <= {{ dbt.datediff('days.first_date', 'days.last_date', 'day') }} + 1
{%- endmacro %}
