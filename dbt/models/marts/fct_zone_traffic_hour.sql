{%- set touched = [{'by': 'int_touched_detection', 'key': ['store_id', 'zone_id'], 'at': 'hour_start_utc'}] -%}
{%- set kept = {'at': 'hour_start_utc', 'from': ['stg_cv_detections']} -%}
{{ config(materialized='incremental', incremental_strategy='touched', meta={'touched': touched, 'kept': kept}) }}
with counts as (

    select
        seen.store_id,
        seen.zone_id,
        seen.seen,
        seen.zone_kind,
        seen.asset_id,
        seen.seen_count,
        date_trunc('minute', seen.event_time_utc) as minute_utc,
        {{ hour_start_utc('seen.event_time_utc', 'store.time_zone') }} as hour_start_utc,
        {{ business_time('seen.event_time_utc', 'store.time_zone') }}
    from {{ ref('stg_cv_detections') }} as seen
    left join {{ ref('dim_store') }} as store
        on seen.store_id = store.store_id
        and {{ valid_at('store', 'seen.event_time_utc') }}
    where
        seen.zone_kind <> 'facing'
        and seen.seen in ('person', 'vehicle')
        and seen.seen_count is not null
        {%- if goes_on() %}
        and seen.event_date in (
            {{ touched_days('int_touched_detection', hours=1) }}
        )
        and exists (
            select 1
            from {{ ref('int_touched_detection') }} as touched
            where
                touched.store_id = seen.store_id
                and touched.zone_id = seen.zone_id
                and seen.event_time_utc >= touched.from_utc
                and seen.event_time_utc < {{ dbt.dateadd('hour', 1, 'touched.to_utc') }}
        )
        {%- endif %}

)

select
    store_id,
    zone_id,
    seen,
    hour_start_utc,
    business_date,
    local_hour,
    max(zone_kind) as zone_kind,
    max(asset_id) as asset_id,
    cast(count(*) as bigint) as detections,
    cast(count(distinct minute_utc) as bigint) as minutes_counted,
    -- A camera at an entrance counts who came in since its last count; any other, who is there.
    cast(sum(case when zone_kind = 'entrance' then seen_count end) as bigint) as entered,
    case when max(zone_kind) <> 'entrance' then {{ exact_avg('seen_count') }} end as seen_avg,
    cast(max(case when zone_kind <> 'entrance' then seen_count end) as bigint) as seen_max
from counts
where {{ is_touched(touched, 'counts') }}
group by store_id, zone_id, seen, hour_start_utc, business_date, local_hour
