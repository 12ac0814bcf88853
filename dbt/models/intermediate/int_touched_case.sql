-- Whole hours of a freezer or cooler. A reading reaches as far back as the one before it may stand, and as far ahead as a
-- defrost is told; the newest reading of a case stands otherwise once another one comes.
{%- set known = as_it_was('int_cold_chain_reading') %}
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

    select asset_id, hour_utc
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

    select known.asset_id, date_trunc('hour', known.event_time_utc), date_trunc('hour', {{ dbt.dateadd('hour', 1, 'known.event_time_utc') }})
    from {{ known }} as known
    where known.is_newest and known.asset_id in (select asset_id from hours)
    {%- endif %}

)

select
    reached.asset_id,
    reached.from_utc,
    reached.to_utc,
    {{ dbt.dateadd('minute', -var('defrost_recovery_minutes'), dbt.dateadd('second', '-stands.seconds', 'reached.from_utc')) }} as read_from_utc,
    {{ dbt.dateadd('second', 'stands.seconds', 'reached.to_utc') }} as read_to_utc
from reached
cross join stands
