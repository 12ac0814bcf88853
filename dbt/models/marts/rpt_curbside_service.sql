with orders as (

    select
        orders.*,
        store.time_zone,
        -- The hour it was promised for; of an order without a promise the hour it came to.
        {{ hour_start_utc('coalesce(orders.window_from_utc, orders.handed_over_at_utc, orders.event_time_utc)', 'store.time_zone') }}
            as hour_start_utc
    from {{ ref('fct_order') }} as orders
    left join {{ ref('dim_store') }} as store
        on orders.store_id = store.store_id
        and {{ valid_at('store', 'coalesce(orders.window_from_utc, orders.handed_over_at_utc, orders.event_time_utc)') }}
    -- An order whose placing was lost was for pickup, unless it names a shopper's session.
    where orders.channel = 'curbside' or (orders.channel is null and orders.session_id is null)

),

summed as (

    select
        store_id,
        hour_start_utc,
        max(time_zone) as time_zone,
        count(*) as orders,
        sum(case when status = 'handed_over' then 1 else 0 end) as handed_over,
        sum(case when status = 'cancelled' then 1 else 0 end) as cancelled,
        count(was_ready_in_time) as ready_known,
        sum(case when was_ready_in_time then 1 else 0 end) as ready_in_time,
        count(was_handed_over_in_time) as handed_over_known,
        sum(case when was_handed_over_in_time then 1 else 0 end) as handed_over_in_time,
        count(minutes_waited) as waits,
        sum(case when minutes_waited <= {{ var('curbside_wait_minutes') }} then 1 else 0 end) as short_waits,
        sum(case when minutes_waited > {{ var('curbside_long_wait_minutes') }} then 1 else 0 end) as long_waits,
        {{ exact_avg('minutes_waited') }} as minutes_waited_avg,
        max(minutes_waited) as minutes_waited_max,
        sum(case when status = 'handed_over' and lines_ordered is not null then lines_ordered else 0 end)
            as lines_ordered,
        sum(case when status = 'handed_over' and lines_ordered is not null then lines_substituted else 0 end)
            as lines_substituted,
        sum(case when status = 'handed_over' and lines_ordered is not null then lines_short else 0 end)
            as lines_short,
        sum(case when missing_steps is not null or has_odd_order then 1 else 0 end) as doubtful
    from orders
    group by store_id, hour_start_utc

)

select
    store_id,
    hour_start_utc,
    {{ business_time('hour_start_utc', 'time_zone') }},
    cast(orders as bigint) as orders,
    cast(handed_over as bigint) as orders_handed_over,
    cast(cancelled as bigint) as orders_cancelled,
    cast(ready_known as bigint) as orders_ready_known,
    cast(ready_in_time as bigint) as orders_ready_in_time,
    {{ percent('ready_in_time', 'ready_known') }} as ready_in_time_percent,
    cast(handed_over_known as bigint) as orders_handed_over_known,
    cast(handed_over_in_time as bigint) as orders_handed_over_in_time,
    {{ percent('handed_over_in_time', 'handed_over_known') }} as handed_over_in_time_percent,
    cast(waits as bigint) as waits,
    minutes_waited_avg,
    minutes_waited_max,
    {{ percent('short_waits', 'waits') }} as short_wait_percent,
    cast(long_waits as bigint) as long_waits,
    cast(lines_ordered as bigint) as lines_ordered,
    cast(lines_substituted as bigint) as lines_substituted,
    {{ percent('lines_substituted', 'lines_ordered') }} as substituted_percent,
    cast(lines_short as bigint) as lines_short,
    {{ percent('lines_short', 'lines_ordered') }} as short_percent,
    cast(doubtful as bigint) as orders_doubtful
from summed
