-- depends_on: {{ ref('int_silver_batch') }}
select
    event_id,
    {{ utc('event_time') }} as changed_at_utc,
    {{ utc('arrived_at') }} as arrived_at_utc,
    {{ utc('loaded_at') }} as loaded_at_utc,
    loaded_at,
    {{ event_date() }} as event_date,
    store_id,
    asset_id,
    asset_class,
    name,
    area,
    status,
    parent_id,
    cast(setpoint as decimal(9, 3)) as setpoint_c,
    gtin,
    devices
from {{ source('silver', 'assets') }}
