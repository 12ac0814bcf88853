-- At which hours are pickup orders not ready in time, how long do customers wait, and what is missing from their bags?
select
    store_id,
    local_hour,
    sum(orders) as orders,
    sum(orders_cancelled) as cancelled,
    round(100.0 * sum(orders_ready_in_time) / nullif(sum(orders_ready_known), 0), 1) as ready_in_time_percent,
    round(sum(minutes_waited_avg * waits) / nullif(sum(waits), 0), 1) as minutes_waited,
    max(minutes_waited_max) as longest_wait,
    sum(long_waits) as waits_over_5_min,
    round(100.0 * sum(lines_short) / nullif(sum(lines_ordered), 0), 1) as lines_short_percent,
    sum(orders_doubtful) as orders_doubtful
from {{ ref('rpt_curbside_service') }}
group by store_id, local_hour
order by ready_in_time_percent nulls last, waits_over_5_min desc, store_id, local_hour
limit 10
