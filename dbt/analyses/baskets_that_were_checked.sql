-- How many scan-and-go baskets are checked in each store, for what reason, and how many of the checks find something?
select
    store_id,
    coalesce(flag_reason, 'not flagged') as reason,
    count(*) as baskets,
    round(100.0 * count(*) / sum(count(*)) over (partition by store_id), 1) as percent_of_baskets,
    count(check_result) as checked,
    round(100.0 * sum(case when check_result = 'failed' then 1 else 0 end) / nullif(count(check_result), 0), 1)
        as failed_percent,
    sum(pieces_missed) as pieces_missed
from {{ ref('fct_order') }}
where was_flagged is not null
group by store_id, coalesce(flag_reason, 'not flagged')
order by store_id, baskets desc, reason
