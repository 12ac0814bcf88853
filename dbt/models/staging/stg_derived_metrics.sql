-- depends_on: {{ ref('int_silver_batch') }}
select
    event_id,
    {{ utc('event_time') }} as event_time_utc,
    {{ utc('arrived_at') }} as arrived_at_utc,
    {{ utc('loaded_at') }} as loaded_at_utc,
    loaded_at,
    {{ event_date() }} as event_date,
    store_id,
    job,
    device_id,
    asset_id,
    asset_class,
    metric,
    cast(value as decimal(18, 6)) as value,
    unit,
    zone_kind
from {{ source('silver', 'derived_metrics') }}
