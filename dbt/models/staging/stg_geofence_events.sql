-- depends_on: {{ ref('int_silver_batch') }}
select
    event_id,
    {{ utc('event_time') }} as event_time_utc,
    {{ utc('arrived_at') }} as arrived_at_utc,
    {{ utc('loaded_at') }} as loaded_at_utc,
    loaded_at,
    {{ event_date() }} as event_date,
    store_id,
    zone_id,
    zone_kind,
    event,
    seen_by,
    order_id,
    {{ pseudonym('customer_id', 'cust') }} as customer_id,
    {{ pseudonym('vehicle_id', 'car') }} as vehicle_id,
    camera_id,
    eta_s,
    distance_m,
    accuracy_m,
    cast(confidence as decimal(9, 6)) as confidence
from {{ source('silver', 'geofence_events') }}
