with lane_minutes as (

    select
        queue.*,
        {{ hour_start_utc('queue.minute_utc', 'store.time_zone') }} as hour_start_utc,
        case when queue.people_avg <= {{ var('queue_people_per_lane') }} then 1 else 0 end as is_within
    from {{ ref('fct_queue_minute') }} as queue
    left join {{ ref('dim_store') }} as store
        on queue.store_id = store.store_id
        and {{ valid_at('store', 'queue.minute_utc') }}
    -- People who walk past a closed lane are no queue, and its being empty is no service.
    where queue.zone_kind = 'queue' and queue.lane_terminals > 0

),

summed as (

    select
        store_id,
        hour_start_utc,
        business_date,
        local_hour,
        count(*) as lane_minutes,
        sum(is_within) as lane_minutes_within,
        {{ exact_avg('people_avg') }} as people_avg,
        max(people_max) as people_max,
        {{ exact_avg('lanes_open') }} as lanes_open_avg,
        max(lanes_open) as lanes_open_max
    from lane_minutes
    group by store_id, hour_start_utc, business_date, local_hour

)

select
    store_id,
    hour_start_utc,
    business_date,
    local_hour,
    cast(lane_minutes as bigint) as lane_minutes,
    cast(lane_minutes_within as bigint) as lane_minutes_within,
    {{ percent('lane_minutes_within', 'lane_minutes') }} as within_percent,
    cast({{ var('queue_target_percent') }} as decimal(18, 2)) as target_percent,
    100 * lane_minutes_within >= {{ var('queue_target_percent') }} * lane_minutes as is_met,
    people_avg,
    cast(people_max as bigint) as people_max,
    lanes_open_avg,
    cast(lanes_open_max as bigint) as lanes_open_max
from summed
