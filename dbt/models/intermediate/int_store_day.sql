-- The span that a store's data covers is told by the log's clock (arrival), which no device's clock can bend.
-- Only history that was loaded long after it happened is told by its own event time.
with recursive logged as (

    select
        store_id,
        case
            when {{ seconds_between('event_time_utc', 'arrived_at_utc') }} > 86400 then event_time_utc
            else arrived_at_utc
        end as logged_at_utc
    from {{ ref('stg_sensor_readings') }}

),

span as (

    select
        store_id,
        min(logged_at_utc) as span_start_utc,
        max(logged_at_utc) as span_end_utc
    from logged
    group by store_id

),

zoned as (

    select
        span.store_id,
        span.span_start_utc,
        span.span_end_utc,
        store.time_zone,
        {{ local_date('span.span_start_utc', 'store.time_zone') }} as first_date,
        {{ local_date('span.span_end_utc', 'store.time_zone') }} as last_date
    from span
    left join {{ ref('dim_store') }} as store
        on span.store_id = store.store_id
        and {{ valid_at('store', 'span.span_end_utc') }}

),

days (store_id, business_date) as (

    select store_id, first_date
    from zoned

    union all

    select days.store_id, {{ next_date('days.business_date') }}
    from days
    inner join zoned on days.store_id = zoned.store_id
    where days.business_date < zoned.last_date

),

bounded as (

    select
        days.store_id,
        days.business_date,
        zoned.time_zone,
        {{ day_start_utc('days.business_date', 'zoned.time_zone') }} as day_start_utc,
        {{ day_end_utc('days.business_date', 'zoned.time_zone') }} as day_end_utc,
        zoned.span_start_utc,
        zoned.span_end_utc
    from days
    inner join zoned on days.store_id = zoned.store_id

)

select
    store_id,
    business_date,
    time_zone,
    day_start_utc,
    day_end_utc,
    cast({{ seconds_between('day_start_utc', 'day_end_utc') }} / 3600 as decimal(4, 2)) as day_hours,
    greatest(day_start_utc, span_start_utc) as covered_from_utc,
    least(day_end_utc, span_end_utc) as covered_to_utc
from bounded
