-- By new reports of a lane: until its next one, the lane was as it says and not as the one before said. From the minute
-- before, because a minute is told by its end.
{%- set first_date -%}
(
            select min(event_date)
            from {{ ref('stg_lane_status') }} as report
            where {{ is_new('stg_lane_status', 'report') }}
        )
{%- endset %}
with followed as (

    select
        store_id,
        lane_id,
        event_time_utc,
        event_date,
        loaded_at,
        lead(event_time_utc) over (partition by store_id, lane_id order by event_time_utc, event_id) as next_time_utc
    from {{ ref('stg_lane_status') }}
    where
        event_date >= {{ first_date }}
        {{- ' and false' if refreshes() }}

)

select distinct
    store_id,
    lane_id,
    {{ dbt.dateadd('minute', -1, 'event_time_utc') }} as from_utc,
    coalesce(next_time_utc, {{ time_ends() }}) as to_utc
from followed
where {{ is_new('stg_lane_status', 'followed') }}
