{%- set kept = {'at': 'event_time_utc', 'from': ['stg_cv_detections', 'stg_pos_transactions', 'stg_alert_events']} -%}
{{ config(materialized='incremental', incremental_strategy='touched', meta={'touched': [], 'kept': kept}) }}
-- All of it is made anew each time, but for what has expired.
-- depends_on: {{ ref('int_first_kept') }}
with claims as (

    select
        event_id,
        event_time_utc,
        'queue' as label,
        'queue' as claimed
    from {{ ref('stg_cv_detections') }}
    where
        zone_kind in ('queue', 'self_checkout')
        and seen = 'person'
        and seen_count > {{ var('queue_people_per_lane') }}

    union all

    select
        event_id,
        event_time_utc,
        'shelf' as label,
        case when is_empty then 'empty' else 'stocked' end as claimed
    from {{ ref('int_facing_sight') }}

),

detections as (

    select
        seen.*,
        cast(seen.event_time_utc as date) as utc_date,
        claims.label,
        claims.claimed
    from {{ ref('stg_cv_detections') }} as seen
    inner join claims
        on seen.event_id = claims.event_id
        and seen.event_time_utc = claims.event_time_utc

),

taken_back as (

    select alert_id
    from {{ ref('fct_alert_event') }}
    where event = 'corrected' and status = 'resolved'
    group by alert_id

),

-- Alerts that say what a frame must show, and that are over. One that a late reading took back says nothing of a frame.
alerts as (

    select
        alert.alert_id,
        alert.store_id,
        alert.asset_id,
        alert.asset_class,
        alert.starts_at_utc,
        alert.ended_at_utc,
        alert.closed_at_utc,
        case when alert.alert_topic = 'alerts.queue' then 'queue' else 'empty' end as claimed,
        -- `closed` alone is what an alert becomes when nobody said anything for a month.
        case
            when alert.closed_at_utc is not null and (alert.cause is not null or alert.action is not null) then 1
            else 0
        end as is_told,
        case
            when lower(trim(alert.cause)) in ('{{ var('false_alert_causes') | join("', '") }}') then 1
            else 0
        end as is_false
    from {{ ref('fct_alert') }} as alert
    left join taken_back on alert.alert_id = taken_back.alert_id
    where
        alert.ended_at_utc is not null
        and taken_back.alert_id is null
        and (
            (alert.alert_topic = 'alerts.queue' and alert.metric in ('estimated_wait', 'lanes_short'))
            or (alert.alert_topic = 'alerts.shelf' and alert.metric = 'facing_empty')
        )

),

-- By the dates at its ends, so that a detection meets few of them.
alert_dates as (

    select *, cast(starts_at_utc as date) as utc_date
    from alerts

    union

    select *, cast(ended_at_utc as date) as utc_date
    from alerts

),

judged as (

    select
        detections.event_id,
        detections.event_time_utc,
        alerts.alert_id,
        alerts.is_told,
        alerts.is_false,
        case when alerts.is_told = 1 then alerts.closed_at_utc else alerts.ended_at_utc end as proved_at_utc,
        -- What somebody said goes before what nobody denied, and the newest word before older ones.
        row_number() over (
            partition by detections.event_id, detections.event_time_utc
            order by
                alerts.is_told desc,
                case when alerts.is_told = 1 then alerts.closed_at_utc else alerts.ended_at_utc end desc,
                alerts.alert_id
        ) as rank_of_word
    from detections
    inner join alert_dates as alerts
        on detections.store_id = alerts.store_id
        and detections.utc_date = alerts.utc_date
        and detections.claimed = alerts.claimed
        and detections.event_time_utc >= alerts.starts_at_utc
        and detections.event_time_utc < alerts.ended_at_utc
        -- A store's alert about its checkouts is about the lanes with somebody at the till.
        and (
            detections.asset_id = alerts.asset_id
            or (alerts.asset_class = 'store' and detections.zone_kind = 'queue')
        )

),

by_sales as (

    select
        event_id,
        event_time_utc,
        sales_expected,
        case
            when next_sale_utc <= {{ dbt.dateadd('minute', var('basket_minutes'), 'event_time_utc') }}
                and (stretch_to_utc is null or next_sale_utc < stretch_to_utc)
                then 'stocked'
            when is_empty
                and tills_told
                and sales_expected >= {{ var('gap_proof_sales') }}
                and (stretch_next_sale_utc is null or stretch_next_sale_utc >= stretch_to_utc)
                then 'empty'
        end as proved,
        next_sale_utc,
        stretch_to_utc
    from {{ ref('int_facing_sight') }}

),

proven as (

    select
        detections.*,
        by_sales.sales_expected,
        case
            when judged.is_told = 1 and judged.is_false = 0 then detections.claimed
            when judged.is_told = 1 then case detections.claimed when 'queue' then 'no_queue' else 'stocked' end
            when detections.label = 'shelf' then by_sales.proved
            when judged.alert_id is not null then detections.claimed
        end as proved,
        case
            when judged.is_told = 1 then 'person'
            when detections.label = 'shelf' then case when by_sales.proved is not null then 'sales' end
            when judged.alert_id is not null then 'alert'
        end as proof,
        case
            when judged.is_told = 1 then judged.proved_at_utc
            when detections.label = 'shelf'
                then case by_sales.proved
                    when 'stocked' then by_sales.next_sale_utc
                    when 'empty' then by_sales.stretch_to_utc
                end
            else judged.proved_at_utc
        end as proved_at_utc,
        -- That nobody denied an alert about an empty facing proves less than what sold.
        case when judged.is_told = 1 or detections.label = 'queue' then judged.alert_id end as alert_id
    from detections
    left join judged
        on detections.event_id = judged.event_id
        and detections.event_time_utc = judged.event_time_utc
        and judged.rank_of_word = 1
    left join by_sales
        on detections.event_id = by_sales.event_id
        and detections.event_time_utc = by_sales.event_time_utc

)

select
    proven.store_id,
    proven.event_id as detection_id,
    proven.event_time_utc,
    {{ business_time('proven.event_time_utc', 'store.time_zone') }},
    proven.label,
    proven.camera_id,
    proven.zone_id,
    proven.asset_id,
    proven.model,
    proven.model_version,
    proven.confidence,
    proven.claimed,
    proven.proved,
    proven.proved = proven.claimed as is_right,
    proven.proof,
    proven.proved_at_utc,
    proven.alert_id,
    proven.sales_expected,
    proven.frame_ref
from proven
left join {{ ref('dim_store') }} as store
    on proven.store_id = store.store_id
    and {{ valid_at('store', 'proven.event_time_utc') }}
