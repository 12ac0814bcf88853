{%- set touched = [
    {
        'by': 'int_touched_facing', 'key': ['store_id', 'asset_id'],
        'at': 'hour_start_utc', 'from': 'hours_from_utc', 'to': 'hours_to_utc',
    },
] -%}
{%- set kept = {'at': 'hour_start_utc', 'from': ['stg_cv_detections']} -%}
{{ config(materialized='incremental', incremental_strategy='touched', meta={'touched': touched, 'kept': kept}) }}
with standing as (

    select
        sight.*,
        store.time_zone,
        {{ hour_start_utc('sight.event_time_utc', 'store.time_zone') }} as hour_start_utc
    from {{ ref('int_shelf_sight') }} as sight
    left join {{ ref('dim_store') }} as store
        on sight.store_id = store.store_id
        and {{ valid_at('store', 'sight.event_time_utc') }}
    {%- if goes_on() %}
    where exists (
        select 1
        from {{ ref('int_touched_facing') }} as touched
        where
            touched.store_id = sight.store_id
            and touched.asset_id = sight.asset_id
            and sight.event_time_utc >= {{ dbt.dateadd('hour', -2, 'touched.hours_from_utc') }}
            and sight.event_time_utc < {{ dbt.dateadd('hour', 1, 'touched.hours_to_utc') }}
    )
    {%- endif %}

),

-- The time that each sight stands for, cut where the next hour begins.
pieces as (

    select
        store_id,
        asset_id,
        time_zone,
        hour_start_utc,
        is_empty,
        is_low,
        1 as detections,
        event_time_utc as from_utc,
        least(stands_until_utc, {{ dbt.dateadd('hour', 1, 'hour_start_utc') }}) as to_utc
    from standing

    union all

    select
        store_id,
        asset_id,
        time_zone,
        {{ dbt.dateadd('hour', 1, 'hour_start_utc') }} as hour_start_utc,
        is_empty,
        is_low,
        0 as detections,
        {{ dbt.dateadd('hour', 1, 'hour_start_utc') }} as from_utc,
        stands_until_utc as to_utc
    from standing
    where stands_until_utc > {{ dbt.dateadd('hour', 1, 'hour_start_utc') }}

),

dated as (

    select
        *,
        {{ business_time('hour_start_utc', 'time_zone') }},
        {{ seconds_between('from_utc', 'to_utc') }} as seconds
    from pieces
    where {{ is_touched(touched, 'pieces') }}

),

opened as (

    select
        dated.store_id,
        dated.asset_id,
        dated.hour_start_utc,
        sum({{ seconds_in_both('dated.from_utc', 'dated.to_utc', 'span.opens_utc', 'span.closes_utc') }}) as seen_s,
        sum(
            dated.is_empty
            * {{ seconds_in_both('dated.from_utc', 'dated.to_utc', 'span.opens_utc', 'span.closes_utc') }}
        ) as empty_s,
        sum(
            dated.is_low
            * {{ seconds_in_both('dated.from_utc', 'dated.to_utc', 'span.opens_utc', 'span.closes_utc') }}
        ) as low_s
    from dated
    inner join {{ ref('int_open_span') }} as span
        on dated.store_id = span.store_id
        and dated.business_date = span.business_date
    group by dated.store_id, dated.asset_id, dated.hour_start_utc

),

summed as (

    select
        store_id,
        asset_id,
        hour_start_utc,
        business_date,
        local_hour,
        sum(detections) as detections,
        sum(seconds) as seen_s,
        sum(is_empty * seconds) as empty_s,
        sum(is_low * seconds) as low_s
    from dated
    group by store_id, asset_id, hour_start_utc, business_date, local_hour

)

select
    summed.store_id,
    summed.asset_id,
    facing.product_id,
    summed.hour_start_utc,
    summed.business_date,
    summed.local_hour,
    cast(summed.detections as bigint) as detections,
    {{ minutes('summed.seen_s') }} as minutes_seen,
    {{ minutes('summed.empty_s') }} as minutes_empty,
    {{ minutes('summed.low_s') }} as minutes_low,
    {{ share('summed.empty_s', 'summed.seen_s') }} as empty_share,
    {{ share('summed.low_s', 'summed.seen_s') }} as low_share,
    {{ minutes('coalesce(opened.seen_s, 0)') }} as minutes_seen_open,
    {{ minutes('coalesce(opened.empty_s, 0)') }} as minutes_empty_open,
    {{ minutes('coalesce(opened.low_s, 0)') }} as minutes_low_open
from summed
left join opened
    on summed.store_id = opened.store_id
    and summed.asset_id = opened.asset_id
    and summed.hour_start_utc = opened.hour_start_utc
left join {{ ref('dim_asset') }} as facing
    on summed.asset_id = facing.asset_id
    and {{ valid_at('facing', 'summed.hour_start_utc') }}
