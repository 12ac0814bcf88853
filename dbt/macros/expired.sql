{#- Facts outlive the events they were made of. `grocery batch maintain` deletes days of silver that are past their
    contract's retention, and says so before it does (audit.expiries); int_first_kept has what follows. Rows that silver
    could no longer make anew are left as they are: a model's `kept` (in its meta) says which.
    at: the column that tells a row's time; from: the staging models that it is made of, its own first; persons: columns
    with pseudonyms, which do not outlive what silver has of them. docs/retention.md has the rules, docs/decisions.md
    the why. -#}

{#- Staging models and their tables of silver. -#}
{% macro silver_tables() -%}
{{ return({
    'stg_alert_commands': 'alert_commands', 'stg_alert_events': 'alert', 'stg_assets': 'assets',
    'stg_cv_detections': 'cv_detections', 'stg_derived_metrics': 'derived_metrics',
    'stg_geofence_events': 'geofence_events', 'stg_lane_status': 'lane_status', 'stg_orders': 'orders',
    'stg_pos_transactions': 'pos_transactions', 'stg_products': 'products', 'stg_scan_events': 'scan_events',
    'stg_sensor_readings': 'sensor_readings', 'stg_stores': 'stores',
}) }}
{%- endmacro %}

{#- Condition: the row is left as it is. alias: of the row, none where it needs none. -#}
{% macro is_expired(at, sources, alias=none) -%}
{%- set known = as_it_was('int_first_kept') -%}
{%- if known -%}
{{ alias ~ '.' if alias }}{{ at }} < (
            select max(whole_from_utc) from {{ known }} where source in ('{{ sources | join("', '") }}')
        )
{%- else -%}false
{%- endif -%}
{%- endmacro %}

{#- For the strategy `touched`: of the table's rows that are touched, those that may go. -#}
{% macro may_go(relation) -%}
{%- set kept = config.get('meta').kept -%}
{%- if kept and kept.at %}
    and not {{ is_expired(kept.at, kept['from'], relation.identifier) }}
{%- endif -%}
{%- endmacro %}

{#- For the strategy `touched`: of the rows computed, those that may come. Where something went on past the first day that
    is kept (an order, an alert), what stands is the whole of it. -#}
{% macro may_come(relation, alias) -%}
{%- set kept = config.get('meta').kept -%}
{%- if kept and kept.at %}
    where
        not {{ is_expired(kept.at, kept['from'], alias) }}
        and not exists (
            select 1
            from {{ relation }} as expired
            where
                {{ is_expired(kept.at, kept['from'], 'expired') }}
                {%- for column in grain_among(adapter.get_columns_in_relation(relation) | map(attribute='name') | list) %}
                and expired.{{ column }} = {{ alias }}.{{ column }}
                {%- endfor %}
        )
{%- endif -%}
{%- endmacro %}


{% macro days_have_expired() -%}
{%- set known = as_it_was('int_first_kept') -%}
{{ return(known is not none and run_query(
    "select count(*) from " ~ known ~ " where kept_from > cast('1900-01-01' as date)"
).columns[0].values()[0] > 0) }}
{%- endmacro %}

{#- Whether a full refresh has to bring rows over. `--vars '{lose_expired: true}'` lets them go. -#}
{% macro brings_over() -%}
{{ return(refreshes() and not var('lose_expired', false) and days_have_expired()) }}
{%- endmacro %}

{#- In a full refresh, the model's table as it still stands, for one that is added to and never forgets. -#}
{% macro before_refresh() -%}
{{ return(as_it_was(model.name) if model.resource_type == 'model' and target.type != 'athena' and brings_over()) }}
{%- endmacro %}

{% macro set_aside() -%}
{{ return(api.Relation.create(
    database=this.database, schema=this.schema, identifier=this.identifier ~ '__kept', type='table'
)) }}
{%- endmacro %}

{#- Before a model: a full refresh sets aside what it could not make again. -#}
{% macro keep_expired() -%}
{%- set kept = config.get('meta').get('kept') if execute else none -%}
{%- if kept and brings_over() -%}
    {%- set known = as_it_was(model.name) -%}
    {%- if known -%}{{ return(adapter.dispatch('keep_expired')(kept, known)) }}{%- endif -%}
{%- endif -%}
{%- endmacro %}

{% macro default__keep_expired(kept, known) -%}
{%- if kept.at -%}
    {%- do adapter.cache_added(set_aside()) -%}
    create table {{ set_aside() }} as
    select *
    from {{ known }}
    where {{ is_expired(kept.at, kept['from']) }}
{%- endif -%}
{%- endmacro %}

{#- dbt-athena drops a table before it makes the new one. -#}
{% macro athena__keep_expired(kept, known) -%}
{{ exceptions.raise_compiler_error(
    known ~ " has rows of days that have expired from silver (" ~ as_it_was('int_first_kept') ~ " says which); a full "
    ~ "refresh would lose them, so nothing was done to it: run without --full-refresh, or, to let them go, add "
    ~ "--vars '{lose_expired: true}'"
) }}
{%- endmacro %}

{#- After a model: what was set aside comes back; persons go from rows of whom silver holds no event any more. Each is a
    statement of its own, as Athena takes one at a time; elsewhere all are in the model's transaction. -#}
{% macro bring_expired() -%}
{%- set kept = config.get('meta').get('kept') if execute else none -%}
{%- if not (kept and kept.at and days_have_expired()) -%}{{ return('') }}{%- endif -%}
{%- set aside = adapter.get_relation(set_aside().database, set_aside().schema, set_aside().identifier) -%}
{%- if aside and refreshes() -%}
    {%- set now = adapter.get_columns_in_relation(this) | map(attribute='name') | list -%}
    {%- set both = adapter.get_columns_in_relation(aside) | map(attribute='name') | select('in', now) | join(', ') -%}
    {%- call statement('make_room', auto_begin=False) %}
    delete from {{ this }}
    where exists (
        select 1
        from {{ aside }} as kept
        where
            {%- for column in grain_among(now) %}
            {{ 'and ' if not loop.first }}kept.{{ column }} = {{ this.identifier }}.{{ column }}
            {%- endfor %}
    )
    {%- endcall -%}
    {%- call statement('bring', auto_begin=False) %}
    insert into {{ this }} ({{ both }})
    select {{ both }}
    from {{ aside }}
    {%- endcall -%}
    {%- do adapter.drop_relation(aside) -%}
{%- endif -%}
{%- for person in kept.persons %}
    {%- call statement('forget_' ~ person, auto_begin=False) %}
    update {{ this }}
    set {{ person }} = null
    where
        {{ person }} is not null
        and {{ is_expired(kept.at, kept['from']) }}
        and (
            {{ is_expired(kept.at, [kept['from'][0]]) }}
            or {{ person }} not in (
                select {{ person }}
                from {{ source('silver', silver_tables()[kept['from'][0]]) }}
                where {{ person }} is not null
            )
        )
    {%- endcall -%}
{%- endfor -%}
{%- endmacro %}
