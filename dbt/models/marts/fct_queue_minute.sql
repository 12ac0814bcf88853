{%- set touched = [
    {'by': 'int_touched_detection', 'key': ['store_id', 'zone_id'], 'at': 'minute_utc'},
    {'by': 'int_touched_lane', 'key': ['store_id'], 'at': 'minute_utc'},
] -%}
{%- set kept = {'at': 'minute_utc', 'from': ['stg_cv_detections', 'stg_lane_status']} -%}
{{ config(materialized='incremental', incremental_strategy='touched', meta={'touched': touched, 'kept': kept}) }}
with placed as (

    select
        *,
        date_trunc('minute', event_time_utc) as minute_utc
    from {{ ref('stg_cv_detections') }} as seen
    where
        zone_kind in ('queue', 'self_checkout')
        and seen = 'person'
        and seen_count is not null
        {%- if goes_on() %}
        and seen.event_date in (
            {{ touched_days('int_touched_detection') }}
            union
            select cast(known.minute_utc as date)
            from {{ this }} as known
            inner join {{ ref('int_touched_lane') }} as touched
                on known.store_id = touched.store_id
                and known.minute_utc >= touched.from_utc
                and known.minute_utc < touched.to_utc
        )
        {%- endif %}

),

minutes as (

    select
        store_id,
        zone_id,
        max(zone_kind) as zone_kind,
        max(asset_id) as lane_id,
        minute_utc,
        count(*) as detections,
        {{ exact_avg('seen_count') }} as people_avg,
        max(seen_count) as people_max
    from placed
    where {{ is_touched(touched, 'placed') }}
    group by store_id, zone_id, minute_utc

),

store_minutes as (

    select distinct store_id, minute_utc
    from minutes

),

-- How many lanes are open: the running sum of what opened and closed, read at the end of each minute. Minutes add null, not
-- 0, so that the sum is null while nothing was told of a lane.
timeline as (

    select
        store_id,
        event_time_utc as at_utc,
        {{ instant('null') }} as minute_utc,
        lanes_change,
        terminals_change
    from {{ ref('int_lane_change') }}
    where store_id in (select store_id from minutes)

    union all

    select
        store_id,
        {{ dbt.dateadd('minute', 1, 'minute_utc') }},
        minute_utc,
        cast(null as integer),
        cast(null as integer)
    from store_minutes

),

running as (

    {%- set so_far %}over (
            partition by store_id
            order by at_utc, case when minute_utc is null then 1 else 0 end
            rows between unbounded preceding and current row
        )
    {%- endset %}

    select
        store_id,
        minute_utc,
        sum(lanes_change) {{ so_far }} as lanes_open,
        sum(terminals_change) {{ so_far }} as terminals_open
    from timeline

),

-- The same for each zone's own lane.
lane_minutes as (

    select distinct store_id, lane_id, minute_utc
    from minutes
    where lane_id is not null

),

lane_timeline as (

    select
        store_id,
        lane_id,
        event_time_utc as at_utc,
        {{ instant('null') }} as minute_utc,
        terminals_change
    from {{ ref('int_lane_change') }}
    where store_id in (select store_id from minutes)

    union all

    select
        store_id,
        lane_id,
        {{ dbt.dateadd('minute', 1, 'minute_utc') }},
        minute_utc,
        cast(null as integer)
    from lane_minutes

),

lane_running as (

    select
        store_id,
        lane_id,
        minute_utc,
        sum(terminals_change) over (
            partition by store_id, lane_id
            order by at_utc, case when minute_utc is null then 1 else 0 end
            rows between unbounded preceding and current row
        ) as lane_terminals
    from lane_timeline

)

select
    minutes.store_id,
    minutes.zone_id,
    minutes.minute_utc,
    {{ business_time('minutes.minute_utc', 'store.time_zone') }},
    minutes.zone_kind,
    minutes.lane_id,
    cast(minutes.detections as bigint) as detections,
    minutes.people_avg,
    cast(minutes.people_max as bigint) as people_max,
    cast(running.lanes_open as bigint) as lanes_open,
    cast(running.terminals_open as bigint) as terminals_open,
    cast(lane_running.lane_terminals as bigint) as lane_terminals
from minutes
inner join running
    on minutes.store_id = running.store_id
    and minutes.minute_utc = running.minute_utc
left join lane_running
    on minutes.store_id = lane_running.store_id
    and minutes.lane_id = lane_running.lane_id
    and minutes.minute_utc = lane_running.minute_utc
left join {{ ref('dim_store') }} as store
    on minutes.store_id = store.store_id
    and {{ valid_at('store', 'minutes.minute_utc') }}
