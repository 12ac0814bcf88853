-- At which hours did more than two people stand at a checkout for longest, and how many lanes were open then?
-- Two is the "1+1" standard: one being served, one waiting. Self-checkout areas are left out: one area, many terminals;
-- so is a lane while it is closed: who walks past it is no queue.
select
    store_id,
    local_hour,
    count(*) as minutes_seen,
    sum(case when people_avg > 2 then 1 else 0 end) as minutes_over_two,
    round(100.0 * sum(case when people_avg > 2 then 1 else 0 end) / count(*), 1) as percent_over_two,
    max(people_max) as most_people,
    round(avg(lanes_open), 1) as lanes_open
from {{ ref('fct_queue_minute') }}
where zone_kind = 'queue' and lane_terminals > 0
group by store_id, local_hour
order by minutes_over_two desc, store_id, local_hour
limit 10
