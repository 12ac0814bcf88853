-- depends_on: {{ ref('int_silver_batch') }}
select
    event_id,
    {{ utc('event_time') }} as event_time_utc,
    {{ utc('arrived_at') }} as arrived_at_utc,
    {{ utc('loaded_at') }} as loaded_at_utc,
    loaded_at,
    {{ event_date() }} as event_date,
    store_id,
    camera_id,
    zone_id,
    zone_kind,
    asset_id,
    seen,
    "count" as seen_count,
    cast(value as decimal(18, 6)) as value,
    cast(confidence as decimal(9, 6)) as confidence,
    model,
    model_version,
    frame_ref
from {{ source('silver', 'cv_detections') }}
