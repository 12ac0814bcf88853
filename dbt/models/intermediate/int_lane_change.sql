with states as (

    select
        *,
        case when status = 'open' then 1 else 0 end as is_open,
        case when status = 'open' then terminals else 0 end as open_terminals
    from {{ ref('stg_lane_status') }}

),

followed as (

    select
        *,
        lag(event_id) over (partition by store_id, lane_id order by event_time_utc, event_id) is null as is_first,
        coalesce(lag(is_open) over (partition by store_id, lane_id order by event_time_utc, event_id), 0) as was_open,
        coalesce(lag(open_terminals) over (partition by store_id, lane_id order by event_time_utc, event_id), 0)
            as had_terminals
    from states

)

select
    event_id,
    event_time_utc,
    store_id,
    lane_id,
    lane_kind,
    is_open - was_open as lanes_change,
    open_terminals - had_terminals as terminals_change
from followed
-- The first that is told of a lane changes what is known, if only from nothing to closed.
where is_first or is_open <> was_open or open_terminals <> had_terminals
