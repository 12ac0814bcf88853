-- depends_on: {{ ref('int_silver_batch') }}
select
    event_id,
    {{ utc('event_time') }} as event_time_utc,
    {{ utc('arrived_at') }} as arrived_at_utc,
    {{ utc('loaded_at') }} as loaded_at_utc,
    loaded_at,
    {{ event_date() }} as event_date,
    store_id,
    lane_id,
    lane_kind,
    status,
    coalesce(terminals, 1) as terminals
from {{ source('silver', 'lane_status') }}
