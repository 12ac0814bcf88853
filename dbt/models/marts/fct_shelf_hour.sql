-- From what cameras saw, not from the job's facing_empty and facing_low: those are the same sights, but only while the
-- job ran, and only of facings that it had been told of.
with sights as (

    select
        seen.*,
        case when coalesce(seen.seen_count, 1) = 0 then 0 else 1 end as is_so
    from {{ ref('stg_cv_detections') }} as seen
    where
        seen.zone_kind = 'facing'
        and seen.asset_id is not null
        and seen.seen in ('empty_facing', 'low_facing', 'item')

),

-- `seen` says what the model looked for; a count of 0, that it is not so. A facing that is not empty may be low still.
states as (

    select
        store_id,
        asset_id,
        event_id,
        event_time_utc,
        case seen when 'empty_facing' then is_so when 'item' then 1 - is_so else 0 end as is_empty,
        case
            when seen = 'low_facing' then is_so
            when seen = 'item' then 1 - is_so
            when is_so = 1 then 1
        end as is_low
    from sights

),

followed as (

    {%- set in_order %}over (partition by store_id, asset_id order by event_time_utc, event_id{% endset %}

    select
        *,
        count(is_low) {{ in_order }} rows between unbounded preceding and current row) as low_told,
        lead(event_time_utc) {{ in_order }}) as next_time_utc
    from states

),

standing as (

    select
        followed.store_id,
        followed.asset_id,
        followed.event_time_utc,
        followed.is_empty,
        -- Portable "last value so far".
        coalesce(
            max(followed.is_low) over (partition by followed.store_id, followed.asset_id, followed.low_told), 0
        ) as is_low,
        -- The newest sight stands for nothing until the next one comes.
        case
            when followed.next_time_utc is null then followed.event_time_utc
            else least(
                followed.next_time_utc,
                {{ dbt.dateadd('minute', var('facing_stands_minutes'), 'followed.event_time_utc') }}
            )
        end as stands_until_utc,
        store.time_zone,
        {{ hour_start_utc('followed.event_time_utc', 'store.time_zone') }} as hour_start_utc
    from followed
    left join {{ ref('dim_store') }} as store
        on followed.store_id = store.store_id
        and {{ valid_at('store', 'followed.event_time_utc') }}

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
