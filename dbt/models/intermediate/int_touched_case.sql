-- Whole hours of a freezer or cooler. A reading reaches as far back as the one before it may stand, and as far ahead as a
-- defrost is told; a device's newest reading stands otherwise once another one comes. Which that was says the table that is
-- written last of those that go by this: where a run was killed between them, the readings know of another one already.
{%- set days = as_it_was('int_cold_chain_day') -%}
{#- Where a warehouse's last run knew no table of days. -#}
{%- set known = days or as_it_was('int_cold_chain_hour') -%}
{%- set newest = 'max(known.' ~ ('last_hour_utc' if days else 'hour_utc') ~ ')' %}
with stands as (

    select coalesce(max(interval_s), 0) * {{ var('reading_stands_intervals') }} as seconds
    from (
        select interval_s
        from {{ ref('int_device') }}
        where metric = 'temperature'

        union all

        select {{ var('unknown_interval_s') }}
    ) as intervals

),

hours as (

    select distinct asset_id, hour_utc
    from {{ ref('int_touched_reading') }}
    where metric in ('temperature', 'defrost')

),

reached as (

    select
        hours.asset_id,
        date_trunc('hour', {{ dbt.dateadd('second', '-stands.seconds', 'hours.hour_utc') }}) as from_utc,
        date_trunc('hour', {{ dbt.dateadd('minute', var('defrost_recovery_minutes') + 119, 'hours.hour_utc') }}) as to_utc
    from hours
    cross join stands

    {%- if known and not refreshes() %}

    union

    select known.asset_id, {{ newest }}, {{ dbt.dateadd('hour', 1, newest) }}
    from {{ known }} as known
    where known.asset_id in (select asset_id from hours)
    group by known.asset_id, known.device_id
    having {{ newest }} is not null
    {%- endif %}

)

select
    reached.asset_id,
    reached.from_utc,
    reached.to_utc,
    {{ dbt.dateadd('minute', -var('defrost_recovery_minutes'), dbt.dateadd('second', '-stands.seconds', 'reached.from_utc')) }} as read_from_utc,
    {{ dbt.dateadd('second', 'stands.seconds', 'reached.to_utc') }} as read_to_utc,
    -- Local dates that a reading of the span can count for, in any zone; where it stands beyond midnight, the next one too.
    cast({{ dbt.dateadd('day', -1, 'reached.from_utc') }} as date) as from_date,
    cast({{ dbt.dateadd('day', 3, 'reached.to_utc') }} as date) as to_date
from reached
cross join stands
